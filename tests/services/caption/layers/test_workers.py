"""Workers of their own on real servers: PostgreSQL, a Redis broker, Triton; all killed in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.caption.settings import CaptionSettings
from services.chassis.storage.settings import StorageSettings
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.servers.platform_http import served
from tests.support.servers.ports import free_port
from tests.support.servers.triton import triton_server
from tests.support.servers.valkey import valkey
from tests.support.waiting import until
from vila2.data.layers import decode_layer_shard
from vila2.schemas.rest.caption import CaptionJob, PreviewIn
from vila2.triton.server import TritonServer

COUNT, SHARD = 600, 30


class Cluster:
    """The platform, its workers, and the servers they stand on."""

    def __init__(
        self,
        captioning: CaptionPlatform,
        folder: Path,
        env: dict[str, str],
        triton: TritonServer,
        port: int,
    ) -> None:
        self.captioning, self.folder, self.env, self.triton = captioning, folder, env, triton
        self.broker_port = port
        self.workers: list[subprocess.Popen[bytes]] = []

    def worker(self, *options: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable, "-m", "services.caption.jobs.worker_command", "--concurrency", "1",
            "--workspace", str(self.folder / "workspace"), *options,
        ]  # fmt: skip
        log = (self.folder / f"worker-{len(self.workers)}.log").open("wb")
        child = subprocess.Popen(
            command, env={**os.environ, **self.env}, stdout=log, stderr=subprocess.STDOUT
        )
        self.workers.append(child)
        return child

    def done(self, job: CaptionJob) -> int:
        return self.captioning.client.caption.job(job.id).progress.done

    def stop(self) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.wait(40)


@contextmanager
def cluster(folder: Path, postgres_url: str) -> Iterator[Cluster]:
    broker_port = free_port()
    triton = triton_server(folder / "workspace" / "objects" / "serving")
    env = {
        "VILA2_DATABASE_URL": postgres_url,
        "VILA2_BROKER_URL": f"redis://127.0.0.1:{broker_port}/0",
        "VILA2_TRITON_URL": triton.url,
        "OMP_NUM_THREADS": "1",
        "VILA2_LEASE_SECONDS": "10",
    }
    settings = CaptionSettings(broker_url=SecretStr(env["VILA2_BROKER_URL"]),
                               triton_url=triton.url)  # fmt: skip
    with triton, caption_platform(
        folder, count=COUNT, shard_samples=SHARD, captioning=settings,
        storage=StorageSettings(database_url=SecretStr(postgres_url)),
    ) as captioning, served(captioning.platform) as address:  # fmt: skip
        key = (captioning.platform.workspace / "service-key").read_text().strip()
        env |= {"VILA2_PLATFORM_URL": address, "VILA2_SERVICE_KEY": key}
        made = Cluster(captioning, folder, env, triton, broker_port)
        try:
            yield made
        finally:
            made.stop()


def restarted(folder: Path, port: int, ending: threading.Event) -> threading.Thread:
    """A broker that is killed a few times and comes back empty each time."""

    def run() -> None:
        number = 0
        while not ending.is_set():
            with valkey(folder / f"broker-{number}", port=port):
                ending.wait(6)
            number += 1
            time.sleep(1)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.server
@pytest.mark.full
def test_every_sample_is_captioned_exactly_once_whoever_is_killed(
    tmp_path: Path, postgres_url: str
) -> None:
    """kill -9 of workers, of Triton, of the broker, in the middle of a layer."""
    ending = threading.Event()
    with cluster(tmp_path, postgres_url) as made:
        broker = restarted(tmp_path, made.broker_port, ending)
        try:
            first = made.worker()
            metrics = free_port()
            made.worker("--metrics-port", str(metrics))
            job = made.captioning.client.caption.start_job(made.captioning.job())
            until(lambda: made.done(job) >= 2 * SHARD, seconds=90)
            first.send_signal(signal.SIGKILL)
            made.worker()
            until(lambda: made.done(job) >= 6 * SHARD, seconds=90)
            made.triton.kill()
            time.sleep(1)
            made.triton.start()
            state = made.captioning.client.caption.job
            until(lambda: state(job.id).state != "running", seconds=200)
            with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
                told = answer.read().decode()
        finally:
            ending.set()
            broker.join()
        done = state(job.id)
        assert (done.state, done.error) == ("sealed", "")
        client = made.captioning.client
        rows = [
            row
            for number in range(COUNT // SHARD)
            for row in decode_layer_shard(client.datasets.layer_content(done.layer, number))
        ]
        assert len(rows) == COUNT
        assert sorted(row.key for row in rows) == sorted(f"p{n}" for n in range(COUNT))
        assert done.captioned + sum(done.quarantined.values()) == COUNT
        for name in (
            "captions_total{",
            "caption_words_bucket",
            "units_claimed_total",
            "engine_window",
        ):
            assert f"vila2_{name}" in told
        # The same layer, undisturbed and in one process, has the same captions.
        again = client.caption.preview(
            PreviewIn(keys=[row.key for row in rows[:60]], **made.captioning.asked())
        )
        assert [c.caption for c in again.captions] == [row.caption for row in rows[:60]]


def test_a_worker_says_what_it_lacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "services.caption.jobs.worker_command"],
        env={k: v for k, v in os.environ.items() if not k.startswith("VILA2_")},
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "VILA2_BROKER_URL" in done.stderr
