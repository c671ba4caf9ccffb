"""The whole service under load: a layer on Triton, separate workers, memory by size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from captioning_workload import QUESTION, SMALL, built, images, timed
from pydantic import SecretStr

from services.caption.settings import CaptionSettings
from services.caption.triton.repository import PREFIX
from services.chassis.storage.settings import StorageSettings
from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.platform_http import served
from tests.support.servers.postgres import postgres
from tests.support.servers.triton import triton_server
from tests.support.servers.valkey import valkey
from vila2.client.submit import submit
from vila2.model.build import VLM
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Gate, Sampling


class Layers:
    """A platform with images and a model, which times layers."""

    def __init__(self, platform: EmbeddedPlatform, model: str, count: int, tokens: int) -> None:
        self._platform, self._count, self._tokens = platform, count, tokens
        self.model = model
        self._made = 0

    def seconds(self) -> float:
        """Seconds from a layer's start to its seal."""
        return timed(self.make)

    def make(self) -> None:
        """Make one complete layer."""
        self._made += 1
        name = f"layer-{self._made}"
        caption = self._platform.client.caption
        job = caption.start_job(
            CaptionJobIn(
                name=name, dataset="images", model=self.model, prompts=[QUESTION],
                sampling=Sampling(max_new_tokens=self._tokens), gate=Gate(attempts=1),
            )
        )  # fmt: skip
        while (state := caption.job(job.id)).state == "running":
            time.sleep(0.05)
        if (state.state, state.progress.done) != ("sealed", self._count):
            raise RuntimeError(
                f"the layer is {state.state} at {state.progress.done}: {state.error}"
            )


def filled(
    platform: EmbeddedPlatform,
    folder: Path,
    vlm: VLM,
    jpegs: Sequence[bytes],
    *,
    tokens: int,
    shard: int,
) -> Layers:
    """Register the model and submit the images."""
    model, source = folder / "model", folder / "images"
    vlm.save(model)
    source.mkdir()
    for n, jpeg in enumerate(jpegs):
        (source / f"p{n:05d}.jpg").write_bytes(jpeg)
        (source / f"p{n:05d}.txt").write_text(f"image {n}")
    name = platform.apps["training"].state.context.registry.add(
        team="local", base_name="bench", folder=model, sha256="0" * 64, parent="",
        job="bench-0000", parameters=1, data=[],
    )  # fmt: skip
    submit(platform.client, source, name="images", format="folder", shard_samples=shard)
    return Layers(platform, name, len(jpegs), tokens)


@contextmanager
def on_triton(
    vlm: VLM,
    jpegs: Sequence[bytes],
    *,
    tokens: int,
    batch: int,
    threads: int,
    instances: int,
    shard: int = 128,
    gpus: int = 0,
) -> Iterator[Layers]:
    """An embedded platform with its own Triton server and the model loaded."""
    settings = CaptionSettings(
        triton_batch_size=batch, triton_threads=threads, triton_instances=instances,
        triton_gpus=gpus, triton_memory=2**16,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with EmbeddedPlatform(folder / "workspace", captioning=settings, triton=True) as platform:
            layers = filled(platform, folder, vlm, jpegs, tokens=tokens, shard=shard)
            layers.make()  # the model is loaded, as it is in a service
            yield layers


def workers_apart(
    vlm: VLM, jpegs: Sequence[bytes], *, tokens: int, batch: int
) -> dict[str, dict[str, float]]:
    """Images per second of one and of two worker processes on PostgreSQL, Valkey and Triton.

    `cores` is the CPU usage of all processes together, bounded by the machine's cores.
    """
    figures = {}
    with ExitStack() as held:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory()))
        workspace = folder / "workspace"
        triton = held.enter_context(triton_server(workspace / "objects" / PREFIX))
        url = held.enter_context(postgres()).new_database()
        broker = held.enter_context(valkey(folder / "valkey"))
        settings = CaptionSettings(
            broker_url=SecretStr(broker.url), triton_url=triton.url, triton_batch_size=batch
        )
        storage = StorageSettings(database_url=SecretStr(url))
        platform = held.enter_context(
            EmbeddedPlatform(workspace, captioning=settings, storage=storage)
        )
        env = {
            "VILA2_DATABASE_URL": url,
            "VILA2_BROKER_URL": broker.url,
            "VILA2_TRITON_URL": triton.url,
            "VILA2_PLATFORM_URL": held.enter_context(served(platform)),
            "VILA2_SERVICE_KEY": (workspace / "service-key").read_text().strip(),
            "OMP_NUM_THREADS": "1",
        }
        layers = filled(platform, folder, vlm, jpegs, tokens=tokens, shard=64)
        for number in (1, 2):
            held.enter_context(_worker(workspace, env, folder / f"worker-{number}.log"))
            layers.make()
            before = _cpu_seconds()
            seconds = layers.seconds()
            figures[f"{number} worker(s)"] = {
                "images_per_s": len(jpegs) / seconds,
                "cores": (_cpu_seconds() - before) / seconds,
            }
    return figures


@contextmanager
def _worker(workspace: Path, env: dict[str, str], log: Path) -> Iterator[None]:
    command = [
        sys.executable,
        "-m",
        "services.caption.jobs.worker_command",
        "--workspace",
        str(workspace),
    ]
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, env={**os.environ, **env}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        child.terminate()
        child.wait(60)


def _cpu_seconds() -> float:
    """CPU seconds of this process and its descendants."""
    me = psutil.Process()
    total = 0.0
    for process in (me, *me.children(recursive=True)):
        used = process.cpu_times()
        total += used.user + used.system
    return total


def peak_of(count: int) -> dict[str, float]:
    """Caption `count` images in a separate process; its peak memory in MiB and the seconds."""
    done = subprocess.run(
        [sys.executable, __file__, str(count)], stdout=subprocess.PIPE, text=True, check=True
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def fill(folder: Path, count: int) -> None:
    """A workspace with `count` images and a small model."""
    jpegs = images(64)
    many = [_marked(jpegs[n % 64], n) for n in range(count)]
    with EmbeddedPlatform(folder / "workspace") as platform:
        layers = filled(platform, folder, built(SMALL), many, tokens=4, shard=500)
        (folder / "name").write_text(layers.model)


def main() -> None:
    """Run by `peak_of`: measures the service's memory without the engine, which runs in Triton.

    Another process submits the images, so their memory is not counted.
    """
    count = int(sys.argv[1])
    if len(sys.argv) > 2:
        fill(Path(sys.argv[2]), count)
        return
    settings = CaptionSettings(triton_batch_size=64, triton_threads=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run([sys.executable, __file__, str(count), name], check=True, stdout=2)
        with EmbeddedPlatform(folder / "workspace", captioning=settings, triton=True) as platform:
            layers = Layers(platform, (folder / "name").read_text(), count, 4)
            seconds = layers.seconds()
    print(json.dumps({"count": count, "peak_mib": _peak_mib(), "seconds": seconds}))


def _peak_mib() -> float:
    """Peak resident memory of this process in MiB (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


def _marked(jpeg: bytes, number: int) -> bytes:
    """The same image with a different comment, so that it is not a duplicate."""
    comment = b"%012d" % number
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


if __name__ == "__main__":
    main()
