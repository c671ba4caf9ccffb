"""A real Prometheus that real services have fed for half a minute.

Two platforms after each other in this process, scraped over HTTP like any: one brings a run to its
end with an instant trainer and engine (`tests/support/runs`), the other captions on a real Triton
with a model that was never trained, while a real training runs beside it. All share this process's
registry, as the services of `vila2 up` do.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.paths import REPOSITORY
from tests.support.runs.stepped_platform import SteppedPlatform, recipe, start, workspace
from tests.support.servers.platform_http import served
from tests.support.servers.prometheus import Prometheus, prometheus
from tests.support.servers.triton import triton_server
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.schemas.assembly import Assembly
from vila2.schemas.rest.caption import PreviewIn
from vila2.schemas.rest.training import JobIn, SourceIn, StageIn, TrainIn
from vila2.schemas.sampling import Sampling

DEPLOYED = REPOSITORY / "deploy" / "prometheus"


@dataclass(frozen=True, slots=True)
class Scraped:
    """A server, and since when it has data (seconds since 1970)."""

    server: Prometheus
    since: float

    def series(self, expression: str) -> list[dict[str, Any]]:
        """What a panel over that time would draw; raises `ValueError` where it is no PromQL."""
        data = self.server.get(
            "query_range", query=expression, start=str(self.since), end=str(time.time()), step="1"
        )
        found: list[dict[str, Any]] = data["result"]
        return found

    def has(self, expression: str) -> bool:
        """Whether there are any."""
        return bool(self.series(expression))


@contextmanager
def scraped_platforms(folder: Path) -> Iterator[Scraped]:
    """The server, when both platforms have shown what they can."""
    folder.mkdir(exist_ok=True)
    triton_server(folder / "repository")  # skips where there is none
    targets = folder / "targets.json"
    targets.write_text("[]")
    with prometheus(folder / "prometheus", configured(targets)) as server:
        made = Scraped(server, time.time())
        _run_to_its_end(made, folder / "stepped", targets)
        _caption_and_train(made, folder / "captioning", targets)
        yield made


def configured(targets: Path) -> str:
    """The configuration of deploy/, every second, with targets from a file."""
    content = yaml.safe_load((DEPLOYED / "prometheus.yml").read_text())
    content["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    content["rule_files"] = [str(DEPLOYED / "rules" / "*.yml")]
    del content["alerting"]
    # A target says itself which of the jobs it is of.
    content["scrape_configs"] = [
        {"job_name": "tests", "file_sd_configs": [{"files": [str(targets)]}]}
    ]
    return yaml.safe_dump(content)


def _show(targets: Path, **addresses: str) -> None:
    """Let these be scraped: the name of the job in deploy/ -> HOST:PORT."""
    listed = [
        {"targets": [address], "labels": {"job": job.replace("_", "-")}}
        for job, address in addresses.items()
    ]
    partial = targets.with_suffix(".partial")
    partial.write_text(json.dumps(listed))
    partial.replace(targets)


def _run_to_its_end(made: Scraped, folder: Path, targets: Path) -> None:
    folder.mkdir()
    with SteppedPlatform(workspace(folder)) as stepped, served(stepped.platform) as address:
        _show(targets, vila2_services=address.removeprefix("http://"))
        run = start(stepped, recipe())
        stepped.turn()
        stepped.controller.watch.look_at_tables()
        until(lambda: made.has("vila2_run_moved_timestamp_seconds"), seconds=30)
        assert stepped.finish(run).state == "finished"
        stepped.controller.watch.look_at_tables()
        until(lambda: made.has("vila2_run_round_verdict"), seconds=30)


def _caption_and_train(made: Scraped, folder: Path, targets: Path) -> None:
    folder.mkdir()
    with ExitStack() as held:
        captioning = held.enter_context(
            caption_platform(folder, count=30, shard_samples=6, triton=True)
        )
        address = held.enter_context(served(captioning.platform))
        triton = captioning.platform.triton
        assert triton is not None
        _show(
            targets,
            vila2_services=address.removeprefix("http://"),
            triton=triton.metrics_url.removeprefix("http://").removesuffix("/metrics"),
        )
        ending = threading.Event()
        asking = threading.Thread(target=_keep_asking, args=(captioning, ending), daemon=True)
        asking.start()
        held.callback(asking.join)
        held.callback(ending.set)
        job = captioning.client.training.submit(_training(captioning)).id
        captioning.client.caption.start_job(captioning.job())
        paused = captioning.client.caption.start_job(captioning.job())
        captioning.client.caption.pause_job(paused.id)
        with suppress(ApiError):
            captioning.client.training.job("no-such-job")  # a request that is refused
        for expression in (
            "vila2_job_loss", "vila2_layer_samples", "vila2:engine_efficiency:ratio",
            'vila2_units_ended_total{task="caption.shard"}', "vila2_engine_rows_total > 0",
        ):  # fmt: skip
            until(lambda query=expression: made.has(query), seconds=180)  # type: ignore[misc]
        captioning.client.training.cancel(job)
        time.sleep(12)  # so that what moves has moved within every panel's interval


def _keep_asking(captioning: CaptionPlatform, ending: threading.Event) -> None:
    """Somebody looks at images all the time, so that the engine has a speed."""
    body = PreviewIn(
        **{
            **captioning.asked(),
            "keys": [f"p{number}" for number in range(12)],
            "sampling": Sampling(temperature=1.0, max_new_tokens=24),
            "score": True,
        }
    )
    while not ending.is_set():
        captioning.client.caption.preview(body)


def _training(captioning: CaptionPlatform) -> JobIn:
    """One that is ended before its end."""
    source = SourceIn(dataset="foxes", assembly=Assembly(policy="original").model_dump())
    stage = StageIn(
        name="sft", steps=100_000, batch_size=2, lr=1e-4, trainable=["projector"], sources=[source]
    )
    return JobIn(name="long", train=TrainIn(init="base", model=captioning.model, stages=[stage]))
