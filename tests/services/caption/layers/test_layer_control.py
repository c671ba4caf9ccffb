"""Pausing, resuming and retrying a layer in the making; starting one from another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.caption.jobs.merge import combined, to_caption
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.datasets.captioned_datasets import layer
from tests.support.datasets.samples import caption_row, sample
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.data.layers import CAPTIONED, QUARANTINED, decode_layer_shard
from vila2.schemas.rest.caption import CaptionJob


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("captioning")) as made:
        yield made


def ended(captioning: CaptionPlatform, job: CaptionJob, state: str = "sealed") -> CaptionJob:
    until(lambda: captioning.client.caption.job(job.id).state == state, seconds=60)
    return captioning.client.caption.job(job.id)


def engines(captioning: CaptionPlatform):
    return captioning.platform.apps["caption"].state.context.direct._engines


def test_a_paused_job_goes_on_where_it_was(captioning: CaptionPlatform, monkeypatch) -> None:
    """No shard is begun meanwhile; resuming seals the layer."""
    import threading

    go = threading.Event()
    real = engines(captioning).get

    def slow(prefix: str):
        go.wait(20)
        return real(prefix)

    monkeypatch.setattr(engines(captioning), "get", slow)
    job = captioning.client.caption.start_job(captioning.job())
    until(lambda: captioning.client.caption.job(job.id).state == "running")
    assert captioning.client.caption.pause_job(job.id).state == "paused"
    go.set()
    until(lambda: captioning.client.caption.job(job.id).progress.done >= 0)
    assert captioning.client.caption.job(job.id).state == "paused"
    assert captioning.client.caption.resume_job(job.id).state in ("running", "sealed")
    done = ended(captioning, job)
    assert done.captioned + sum(done.quarantined.values()) == 5


def test_a_job_that_failed_is_tried_again_and_says_why_it_failed(
    captioning: CaptionPlatform, monkeypatch
) -> None:
    """Every shard with its attempts and its error."""
    real = engines(captioning).get
    context = captioning.platform.apps["caption"].state.context

    def broken(prefix: str):
        raise OSError("the engine is gone")

    monkeypatch.setattr(engines(captioning), "get", broken)
    job = captioning.client.caption.start_job(captioning.job())
    with context._database.transaction() as session:
        from services.caption.tables import WorkUnitRow

        for unit in session.query(WorkUnitRow).filter_by(subject=job.id):
            unit.max_attempts = 1
    ended(captioning, job, "failed")
    found = captioning.client.caption.failures(job.id)
    assert {failed.shard for failed in found.shards} == {0, 1}
    assert all("the engine is gone" in failed.error for failed in found.shards)
    monkeypatch.setattr(engines(captioning), "get", real)
    captioning.client.caption.retry_failed(job.id)
    assert ended(captioning, job).captioned >= 0


def test_quarantined_samples_are_told_with_their_reason_and_text(
    captioning: CaptionPlatform,
) -> None:
    """So that a person sees what the gate refused."""
    from vila2.schemas.sampling import Gate

    strict = Gate(attempts=2, min_words=50)
    done = ended(captioning, captioning.client.caption.start_job(captioning.job(gate=strict)))
    assert sum(done.quarantined.values()) == 5
    found = captioning.client.caption.failures(done.id)
    assert len(found.samples) == 5
    assert {held.attempts for held in found.samples} <= {1, 2}
    (reason, *_) = done.quarantined
    only = captioning.client.caption.failures(done.id, reason=reason)
    assert len(only.samples) == done.quarantined[reason]


def test_a_job_in_another_state_is_not_moved(captioning: CaptionPlatform) -> None:
    """With the state that it is in."""
    done = ended(captioning, captioning.client.caption.start_job(captioning.job()))
    for move in ("pause_job", "resume_job", "retry_failed"):
        with pytest.raises(ApiError, match="is sealed") as refused:
            getattr(captioning.client.caption, move)(done.id)
        assert refused.value.problem.status == 409


def rows(captioning: CaptionPlatform, layer: str) -> dict[str, str]:
    """Captions by key; those of quarantined samples are left out."""
    return {
        row.key: row.caption
        for number in range(2)
        for row in decode_layer_shard(captioning.client.datasets.layer_content(layer, number))
        if row.status == CAPTIONED
    }


@pytest.mark.parametrize("mode", ["keep", "append"])
def test_a_layer_that_starts_from_another_keeps_its_captions(
    captioning: CaptionPlatform, mode: str
) -> None:
    """The untrained model's own are refused by the gate; what there was is not lost to them."""
    base = layer(captioning.client, captioning.objects, name=f"base-{mode}", quarantined=("p3",))
    made = ended(
        captioning,
        captioning.client.caption.start_job(captioning.job(mode=mode, base_layer=base.id, seed=9)),
    )
    before, after = rows(captioning, base.id), rows(captioning, made.layer)
    assert set(before) == {"p0", "p1", "p2", "p4"}
    assert all(after[key].startswith(text) for key, text in before.items())
    hashes = {captioning.client.datasets.layer(held).recipe_hash for held in (base.id, made.layer)}
    assert len(hashes) == 2


def test_keep_and_append_need_a_sealed_layer_of_the_same_version(
    captioning: CaptionPlatform,
) -> None:
    """Named in the refusal."""
    with pytest.raises(ApiError, match="sealed layer of foxes@1") as refused:
        captioning.client.caption.start_job(captioning.job(mode="keep"))
    assert refused.value.problem.field == "base_layer"


SAMPLES = [sample(key) for key in "abc"]
LACKING = {"status": QUARANTINED, "reason": "repetition"}
BASE = [caption_row("a", caption="old a"), caption_row("b", caption="", **LACKING),
        caption_row("c", caption="old c")]  # fmt: skip


def test_keeping_asks_only_for_what_the_base_layer_lacks() -> None:
    """And takes the rest over, provenance and all."""
    assert [s.key for s in to_caption(SAMPLES, BASE, "keep")] == ["b"]
    made = combined(SAMPLES, BASE, [caption_row("b", caption="new b")], "keep")
    assert [row.caption for row in made] == ["old a", "new b", "old c"]
    assert made[0] == BASE[0]


def test_appending_never_loses_a_caption_to_a_failed_one() -> None:
    """Where the new one was quarantined the old one stays; where there was none the new one."""
    new = [caption_row("a", caption="new a"), caption_row("b", caption="new b"),
           caption_row("c", caption="", **LACKING)]  # fmt: skip
    made = combined(SAMPLES, BASE, new, "append")
    assert [row.caption for row in made] == ["old a new a", "new b", "old c"]


def test_overwriting_asks_for_all() -> None:
    """The base layer has no say."""
    assert to_caption(SAMPLES, None, "overwrite") == SAMPLES
    new = [caption_row(key, caption=f"new {key}") for key in "abc"]
    assert combined(SAMPLES, None, new, "overwrite") == new
