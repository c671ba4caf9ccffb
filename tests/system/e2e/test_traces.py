"""One trace from the request to the inference server, and log lines that say what they are of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.caption_platform import caption_platform
from tests.support.servers.platform_http import served
from tests.support.servers.trace_collector import Collector, Seen, collector
from tests.support.servers.triton import triton_server
from tests.support.waiting import until
from vila2.client import Client
from vila2.system import tracing

pytest.importorskip("opentelemetry.sdk", reason="pip install 'vila2[tracing]'")
pytestmark = pytest.mark.server
ASKED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, slots=True)
class Told:
    """What one layer left: its job, the spans of its trace, and the lines of the log."""

    job: str
    spans: list[Seen]
    lines: list[dict[str, Any]]

    def below(self, parent: str, name: str) -> Seen:
        return next(span for span in self.spans if (span.parent, span.name) == (parent, name))

    def line(self, event: str) -> dict[str, Any]:
        return next(line for line in self.lines if line["event"] == event)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """A layer asked for over HTTP, captioned on a real Triton, all of it exported over OTLP."""
    folder = tmp_path_factory.mktemp("traced")
    triton_server(folder / "repository")  # skips where there is none
    with pytest.MonkeyPatch.context() as environment, collector() as spans:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        job = _caption(folder, spans)
        yield _told(job, spans, folder / "workspace" / "log.jsonl")


def _caption(folder: Path, spans: Collector) -> str:
    with (
        caption_platform(folder, triton=True) as captioning,
        served(captioning.platform) as address,
    ):
        client = Client.connect(address, key=captioning.platform.key)
        with tracing.within(ASKED):  # the caller's own trace, sent as a header
            job = client.caption.start_job(captioning.job(run="run-1a2b3c4d")).id
        until(lambda: client.caption.job(job).state == "sealed", seconds=300)
        # Triton sends them every few seconds, and none of the last if its end takes too long.
        until(lambda: _inferred(spans), seconds=60)
        client.close()
    return job


def _inferred(spans: Collector) -> bool:
    """Whether Triton's span below the first of the engine's has come: it comes after its parts."""
    told = Told("", spans.of_trace(tracing.trace_id(ASKED)), [])
    try:
        request = told.below(ASKED[36:52], "POST /v1/jobs")
        unit = told.below(request.span, "unit caption.shard")
        return bool(told.below(told.below(unit.span, "engine answer").span, "InferRequest"))
    except StopIteration:
        return False


def _told(job: str, spans: Collector, log: Path) -> Told:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    trace = tracing.trace_id(ASKED)
    return Told(job, spans.of_trace(trace), [at for at in lines if at.get("trace_id") == trace])


def test_one_trace_leads_from_the_request_to_the_engine(told: Told) -> None:
    """Each span below the one before it: the caller's, the request, the unit, the engine's call,
    and, as Triton itself tells it, the inference."""
    request = told.below(ASKED[36:52], "POST /v1/jobs")
    unit = told.below(request.span, "unit caption.shard")
    engine = told.below(unit.span, "engine answer")
    assert told.below(engine.span, "InferRequest").process == "vila2-triton"


def test_calls_between_services_are_in_the_trace(told: Told) -> None:
    """The caption service asks the registry for the model, and a unit asks where its shard lies."""
    names = {span.name for span in told.spans}
    assert "GET /v1/models/{name}" in names
    assert "GET /v1/datasets/{name}/versions/{number}/shards/{index}" in names


def test_log_lines_of_the_work_say_whose_it_is(told: Told) -> None:
    """Run, job, unit, task and trace, without any of them being passed along by hand."""
    line = told.line("shard captioned")
    assert line["run"] == "run-1a2b3c4d"
    assert line["job"] == told.job
    assert line["unit"].startswith(told.job)
    assert line["task"] == "caption.shard"
    assert told.line("unit ended")["outcome"] == "done"
