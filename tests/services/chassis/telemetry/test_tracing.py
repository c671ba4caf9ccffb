"""Trace context: whose work this is, carried along, and recorded where the environment asks."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.telemetry.tracing import (
    OpenTelemetryRecorder,
    TracingUnavailable,
    _wanted,
    configure_tracing,
)
from services.chassis.work.queue import decode, encode
from services.chassis.work.queue_inprocess import InProcessQueue
from tests.support.waiting import until
from vila2.client.http import Rest
from vila2.system import tracing
from vila2.triton.traces import trace_options

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def exported() -> Iterator[Any]:
    """Where spans end up in this process."""
    pytest.importorskip("opentelemetry.sdk", reason="pip install 'vila2[tracing]'")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.record(OpenTelemetryRecorder(provider))
    yield exporter
    tracing.record(None)


@given(st.text(max_size=80))
def test_a_header_that_is_no_traceparent_is_left_out(text: str) -> None:
    """Anybody may send it; it would come out again in our own requests."""
    assert tracing.valid(text) in ("", text)
    assert bool(tracing.valid(text)) == bool(
        re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", text, re.ASCII)
        and int(text[3:35], 16)
        and int(text[36:52], 16)
    )


def test_work_within_a_trace_stays_in_it_without_a_recorder() -> None:
    with tracing.within(GIVEN), tracing.span("inner") as inner:
        assert tracing.trace_id(inner.traceparent) == tracing.trace_id(GIVEN)
    assert tracing.current() == ""


def test_work_outside_of_any_trace_begins_one() -> None:
    with tracing.span("one") as one, tracing.span("two") as two:
        assert tracing.valid(one.traceparent)
        assert tracing.trace_id(two.traceparent) == tracing.trace_id(one.traceparent)


def test_a_run_has_one_trace_that_its_id_leads_to() -> None:
    """What only looks again asks not to be recorded."""
    asked, again = tracing.root("run-1", recorded=True), tracing.root("run-1", recorded=False)
    assert tracing.trace_id(asked) == tracing.trace_id(again)
    assert asked.endswith("-01")
    assert again.endswith("-00")


def test_requests_carry_the_trace() -> None:
    """Whatever the client is used for."""
    seen: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.headers.get(tracing.HEADER, ""))
        return httpx2.Response(200, json=[])

    with httpx2.Client(base_url="http://a/", transport=httpx2.MockTransport(answer)) as http:
        rest = Rest(http)
        rest.send("GET", "x")
        with tracing.within(GIVEN):
            rest.send("GET", "x")
            with rest.stream("x"):
                pass
    assert seen == ["", GIVEN, GIVEN]


def test_a_hint_carries_the_trace_to_its_handler() -> None:
    """By the envelope, as between processes."""
    with tracing.within(GIVEN):
        assert decode(encode("task", "unit")).traceparent == GIVEN
    taken: list[str] = []
    queue = InProcessQueue()
    queue.register("task", lambda _: taken.append(tracing.current()))
    queue.start()
    with tracing.within(GIVEN):
        queue.publish("task", "unit")
    until(lambda: bool(taken))
    queue.stop()
    assert taken == [GIVEN]


def test_spans_are_recorded_below_what_asked_for_them(exported: Any) -> None:
    """Their names and attributes may come later; an exception is their error."""
    with ExitStack() as held:
        held.enter_context(pytest.raises(ValueError, match="no"))
        span = held.enter_context(tracing.span("GET", kind="server", parent=GIVEN, url__path="/x"))
        span.rename("GET /x")
        span.set(http__route="/x")
        raise ValueError("no")
    (made,) = exported.get_finished_spans()
    assert f"{made.context.trace_id:032x}" == tracing.trace_id(GIVEN)
    assert f"{made.parent.span_id:016x}" == GIVEN[36:52]
    assert made.name == "GET /x"
    assert made.attributes == {"url.path": "/x", "http.route": "/x"}
    assert not made.status.is_ok


def test_what_asks_not_to_be_recorded_is_not(exported: Any) -> None:
    with tracing.span("look", parent=tracing.root("run-1", recorded=False)) as span:
        assert span.traceparent.endswith("-00")
    assert exported.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_TRACES_EXPORTER": "none"}, ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, ""),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
    ],
)
def test_the_environment_turns_it_on(environment: dict[str, str], wanted: str) -> None:
    """Ours and Triton's alike."""
    assert _wanted(environment) == wanted
    assert bool(trace_options(environment)) == (wanted == "otlp")


def test_an_exporter_that_is_not_known_is_named_with_the_fix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="pip install 'vila2[tracing]'")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(TracingUnavailable, match="zipkin is not known here: use otlp"):
        configure_tracing("x")


def test_nothing_of_opentelemetry_is_loaded_where_it_is_off(tmp_path: Path) -> None:
    """Neither by the client nor by the chassis."""
    code = (
        "import sys; from pathlib import Path; import vila2.client.client; "
        "from services.chassis.process import begin_process; "
        f"begin_process('x', workspace=Path({str(tmp_path)!r}))(); "
        "assert not [n for n in sys.modules if n.startswith('opentelemetry.sdk')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
