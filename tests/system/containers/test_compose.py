"""`docker compose up` of the very files that an operator gets, in a real engine.

Needs root, docker.io and the packages that `stand_ins` names; skipped with what is missing, and
unless VILA2_CONTAINERS names a folder for the images (25 GB), which the next run finds there.
"""

from __future__ import annotations

import json
import time

import pytest
import yaml

from tests.support.containers.compose_platform import URL, Driven, Platform
from tests.support.containers.stand_in_images import NONE
from tests.support.paths import REPOSITORY

pytestmark = [pytest.mark.server, pytest.mark.full, pytest.mark.timeout(5400)]


def test_every_container_is_an_ordinary_user_that_cannot_write_its_root(platform: Platform) -> None:
    """Those of our own images; and the first start has said where to go."""
    for service in ("controller", "training", "caption-worker", "triton"):
        who = platform.compose("exec", "-T", service, "id", "-u").strip()
        assert who == "10001", service
        with pytest.raises(RuntimeError, match="Read-only"):
            platform.compose("exec", "-T", service, "touch", "/opt/vila2/x")
    assert URL in platform.compose("logs", "prepare")


def test_the_small_recipe_runs_to_its_end_over_rest(undisturbed: Driven) -> None:
    """PostgreSQL, Redis, S3 and Triton in containers of their own; two workers."""
    assert undisturbed.lines[-1] == "finished"
    assert undisturbed.report.startswith("<!doctype html>")


def test_prometheus_scrapes_every_process(platform: Platform, undisturbed: Driven) -> None:
    """Five services, both workers, Triton and itself."""
    wanted = {"datasets", "caption", "specialist", "training", "controller", "triton"}
    end = time.monotonic() + 90
    while True:
        found = json.loads(platform.get("http://127.0.0.1:9090/api/v1/targets"))
        targets = found["data"]["activeTargets"]
        up = [t["scrapeUrl"] for t in targets if t["health"] == "up"]
        hosts = {url.split("//")[1].split(":")[0] for url in up}
        workers = sum(":9100/" in url for url in up)
        if wanted <= hosts and workers == 2:
            break
        assert time.monotonic() < end, json.dumps(targets, indent=1)[-6000:]
        time.sleep(3)
    asked = platform.get("http://127.0.0.1:9090/api/v1/query?query=sum(vila2_captions_total)")
    assert float(json.loads(asked)["data"]["result"][0]["value"][1]) > 0


def test_nothing_but_grafana_was_left_out(platform: Platform) -> None:
    """What the compose file names runs, or has ended well."""
    asked = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
    there = platform.compose("ps", "--all", "--services").split()
    assert set(asked) - set(there) == set(NONE)
