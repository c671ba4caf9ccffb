"""The loop with every service a process of its own, on real servers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.runs.demo_run import SIZES, small_recipe
from tests.support.servers.distributed_platform import WORKER, distributed_platform
from vila2.cli.platform import DEMO_DATASETS
from vila2.client.submit import submit
from vila2.scenes.datasets import write_world
from vila2.schemas.rest.controller import RunIn

pytestmark = [pytest.mark.server, pytest.mark.full]


def test_a_run_ends_on_real_servers_though_its_controller_is_killed(tmp_path: Path) -> None:
    """PostgreSQL, a Redis broker, S3 and Triton; captions by a worker; kill -9 in the middle."""
    write_world(tmp_path / "world", sizes=SIZES, seed=0)
    with distributed_platform(tmp_path) as platform:
        client = platform.client()
        for name, (split, format) in DEMO_DATASETS.items():
            version = submit(client, tmp_path / "world" / split, name=name, format=format)
            assert version.state == "ready", version.error
        recipe = {**small_recipe(), "controls": []}
        run = client.controller.start_run(RunIn(recipe=recipe), "apart")
        killed = False
        end = time.monotonic() + 540
        while run.state == "running":
            assert time.monotonic() < end, (run.phase, platform.log())
            time.sleep(1)
            if not killed and any(r.name == "round 1" for r in run.rounds):
                platform.kill("controller")
                platform.start("controller")
                killed = True
            run = client.controller.run(run.id)
        assert run.state == "finished", run.error
        assert killed
        captioned = [
            line for line in platform.metrics(WORKER).splitlines()
            if line.startswith("vila2_captions_total")
        ]  # fmt: skip
        assert sum(float(line.split()[-1]) for line in captioned) >= SIZES.corpus
        assert "vila2_leader" in platform.metrics("controller")
        client.close()
