"""A shard whose bytes changed is not captioned; the job says which it is and what restores it."""

from __future__ import annotations

from pathlib import Path

from tests.support.caption_platform import caption_platform
from tests.support.waiting import until


def test_a_job_on_a_damaged_shard_fails_at_once_and_goes_on_when_it_is_restored(
    tmp_path: Path,
) -> None:
    with caption_platform(tmp_path) as made:
        shards = made.platform.workspace / "objects" / "shards"
        path = next(path for path in shards.rglob("000001-*") if path.is_file())
        whole = path.read_bytes()
        path.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
        caption = made.client.caption
        job = caption.start_job(made.job())
        until(lambda: caption.job(job.id).state != "running", seconds=60)
        held = caption.job(job.id)
        assert held.state == "failed"
        assert "shard 1 of foxes@1 is damaged" in held.error
        assert "deploy/restore.sh BACKUP" in held.error
        path.write_bytes(whole)
        caption.retry_failed(job.id)
        until(lambda: caption.job(job.id).state == "sealed", seconds=60)
        assert caption.job(job.id).captioned + sum(caption.job(job.id).quarantined.values()) == 5
