"""`docker compose up` of the very files that an operator gets, in a real engine.

Needs root, docker.io and the packages that `stand_ins` names; skipped with what is missing.
VILA2_CONTAINERS names a folder that keeps the images between runs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.containers.engine import ROOT, Engine, EngineMissing, engine
from tests.containers.root_file_system import PackageMissing
from tests.containers.stand_ins import NONE, import_all

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
FILES = ("-f", "docker-compose.yml", "-f", "tests/containers/compose.yml")
ENV = {
    "COMPOSE_PROJECT_NAME": "vila2-test", "POSTGRES_PASSWORD": "a1", "REDIS_PASSWORD": "b2",
    "S3_SECRET_KEY": "c3", "GRAFANA_ADMIN_PASSWORD": "d4", "TORCH_INDEX": "",
    "TRAINING_THREADS": "1", "COMPOSE_PARALLEL_LIMIT": "1",  # else the builder makes stages twice
}  # fmt: skip


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The platform in containers, with two caption workers."""
    kept = os.environ.get("VILA2_CONTAINERS")
    try:
        with engine(Path(kept) if kept else tmp_path_factory.mktemp("docker")) as made:
            import_all(made)
            compose(made, "build")
            try:
                compose(made, "up", "--detach", "--wait", "--scale", "caption-worker=2")
                yield made
            finally:
                print(compose(made, "logs", "--tail", "60"))
                compose(made, "down", "--volumes", "--timeout", "20")
    except (EngineMissing, PackageMissing) as error:
        pytest.skip(str(error))


def compose(made: Engine, *arguments: str) -> str:
    return made.compose(*FILES, *arguments, env=ENV)


def inside(made: Engine, *command: str, seconds: float) -> str:
    """A command's output in the network where the published ports are."""
    done = subprocess.run(
        made.inside(*command),
        capture_output=True,
        text=True,
        timeout=seconds,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def get(made: Engine, url: str) -> str:
    program = (
        "import sys, urllib.request as u; print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
    )
    return inside(made, sys.executable, "-c", program, url, seconds=30)


def test_every_container_is_an_ordinary_user_that_cannot_write_its_root(platform: Engine) -> None:
    """Those of our own images; and the first start has said where to go."""
    for service in ("controller", "training", "caption-worker", "triton"):
        who = compose(platform, "exec", "-T", service, "id", "-u").strip()
        assert who == "10001", service
        with pytest.raises(RuntimeError, match="Read-only"):
            compose(platform, "exec", "-T", service, "touch", "/opt/vila2/x")
    assert "http://127.0.0.1:8620" in compose(platform, "logs", "prepare")


def test_the_small_recipe_runs_to_its_end_over_rest(platform: Engine, tmp_path: Path) -> None:
    """PostgreSQL, Redis, S3 and Triton in containers of their own; two workers."""
    key = compose(platform, "exec", "-T", "controller", "cat", "/var/lib/vila2/key").strip()
    out = inside(
        platform, sys.executable, "-m", "tests.containers.drive", "http://127.0.0.1:8620", key,
        str(tmp_path / "report.html"), seconds=2700,
    )  # fmt: skip
    print(out)
    assert out.splitlines()[-1] == "finished"


def test_prometheus_scrapes_every_process(platform: Engine) -> None:
    """Five services, both workers, Triton and itself."""
    wanted = {"datasets", "caption", "specialist", "training", "controller", "triton"}
    end = time.monotonic() + 90
    while True:
        found = json.loads(get(platform, "http://127.0.0.1:9090/api/v1/targets"))
        targets = found["data"]["activeTargets"]
        up = [t["scrapeUrl"] for t in targets if t["health"] == "up"]
        hosts = {url.split("//")[1].split(":")[0] for url in up}
        workers = sum(":9100/" in url for url in up)
        if wanted <= hosts and workers == 2:
            break
        assert time.monotonic() < end, json.dumps(targets, indent=1)[-6000:]
        time.sleep(3)
    asked = get(platform, "http://127.0.0.1:9090/api/v1/query?query=sum(vila2_captions_total)")
    assert float(json.loads(asked)["data"]["result"][0]["value"][1]) > 0


def test_nothing_but_grafana_was_left_out(platform: Engine) -> None:
    """What the compose file names runs, or has ended well."""
    asked = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    there = compose(platform, "ps", "--all", "--services").split()
    assert set(asked) - set(there) == set(NONE)
