"""A layer by vLLM in a platform's own Triton, whose engine process is killed on the way."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from services.caption.settings import CaptionSettings
from services.platform.embedded import EmbeddedPlatform
from tests.support.models.trained_captioner import train_captioner
from tests.support.runs.outcome import rows_of
from tests.support.servers.process import check_marked
from tests.support.vllm.environment import ENVIRONMENT, vllm_python
from tests.support.waiting import until
from vila2.client.submit import submit
from vila2.model.digest import folder_digest
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Sampling

pytestmark = [pytest.mark.server, pytest.mark.full]
PHOTOS = Path(os.environ.get("VILA2_REAL_DATA") or "/nonexistent") / "flickr8k" / "images"
COUNT = 1000


def photographs(folder: Path) -> int:
    """Real photographs where there are some, else noise; returns their number."""
    folder.mkdir()
    real = sorted(PHOTOS.glob("*.jpg"))[:COUNT] if PHOTOS.is_dir() else []
    for path in real:
        (folder / path.name).write_bytes(path.read_bytes())
    if not real:
        generator = np.random.default_rng(3)
        for number in range(240):
            pixels = generator.integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:04d}.png")
    for path in [*folder.iterdir()]:
        path.with_suffix(".txt").write_text("a photograph")
    return len(real) or 240


def test_every_sample_is_captioned_once_though_the_engine_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_marked()
    monkeypatch.setenv("VILA2_TRITON_ENVIRONMENT", str(vllm_python().parent.parent))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    count = photographs(tmp_path / "photos")
    taught = train_captioner(tmp_path / "taught")
    captioning = CaptionSettings(triton_backend="vllm", triton_batch_size=32)
    with EmbeddedPlatform(tmp_path / "w", captioning=captioning, triton=True) as platform:
        model = platform.apps["training"].state.context.registry.add(
            team="local", base_name="taught", folder=taught.folder, parent="", job="job-0001",
            sha256=folder_digest(taught.folder), parameters=1, data=[],
        )  # fmt: skip
        client = platform.client
        version = submit(
            client, tmp_path / "photos", name="photos", format="folder", shard_samples=60
        )
        assert (version.state, version.samples) == ("ready", count)
        body = CaptionJobIn(
            name="by vLLM", dataset="photos", model=model, prompts=[taught.question],
            sampling=Sampling(max_new_tokens=24),
        )  # fmt: skip
        job = client.caption.start_job(body, "k").id
        until(lambda: settled(client.caption.job(job)) >= count // 4, seconds=300)
        (core,) = engine_cores(platform)
        core.send_signal(signal.SIGKILL)
        until(lambda: client.caption.job(job).state != "running", seconds=500)
        done = client.caption.job(job)
        assert (done.state, done.error) == ("sealed", "")
        assert settled(done) == count
        keys = [row.key for row in rows_of(client, done.layer)]
        assert len(keys) == len(set(keys)) == count
        (replaced,) = engine_cores(platform)
        assert replaced.pid != core.pid
        assert done.captioned > count // 2, done.quarantined


def settled(job: object) -> int:
    """Samples with a caption, or a reason why there is none."""
    return job.captioned + sum(job.quarantined.values())


def engine_cores(platform: EmbeddedPlatform) -> list[psutil.Process]:
    assert platform.triton is not None
    family = psutil.Process(platform.triton.pid).children(recursive=True)
    return [child for child in family if "EngineCore" in " ".join(child.cmdline())]
