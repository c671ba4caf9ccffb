"""Spans to OpenTelemetry, where its own environment variables ask for it.

    OTEL_EXPORTER_OTLP_ENDPOINT   http://HOST:4318 of a collector; this, or the next, turns it on
    OTEL_TRACES_EXPORTER          otlp, console, or none
    OTEL_TRACES_SAMPLER, OTEL_TRACES_SAMPLER_ARG, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*,
    OTEL_EXPORTER_OTLP_HEADERS    as the OpenTelemetry SDK reads them
    OTEL_SDK_DISABLED             true turns it off

Without them nothing of OpenTelemetry is imported. It is in the extra `tracing`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from vila2.system import tracing

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class TracingUnavailable(RuntimeError):
    """The environment asks for traces that this process cannot send; the message says the fix."""


def configure_tracing(process: str) -> Callable[[], None]:
    """Record this process's spans if the environment enables it; returns the shutdown function.

    `process` is its name in traces, `vila2-PROCESS`, unless OTEL_SERVICE_NAME gives another. Raises
    `TracingUnavailable`.
    """
    wanted = _wanted(os.environ)
    if not wanted:
        return lambda: None
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = _exporter(wanted)
    except ImportError as error:
        raise TracingUnavailable(
            f"OTEL_TRACES_EXPORTER={wanted} needs packages that are not installed ({error.name}): "
            "pip install 'vila2[tracing]'"
        ) from error
    # The environment's own name wins over this one.
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"vila2-{process}"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracing.record(OpenTelemetryRecorder(provider))

    def end() -> None:
        tracing.record(None)
        provider.shutdown()  # flushes pending spans

    return end


def _wanted(environment: Mapping[str, str]) -> str:
    """The configured exporter; empty for none."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    told = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if not told:
        return "otlp" if any(environment.get(name) for name in _ENDPOINTS) else ""
    return "" if told == "none" else told


def _exporter(wanted: str) -> Any:
    if wanted == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter()
    if wanted != "otlp":
        raise TracingUnavailable(
            f"OTEL_TRACES_EXPORTER={wanted} is not known here: use otlp, console or none"
        )
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    if protocol != "http/protobuf":
        raise TracingUnavailable(
            f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not known here: use http/protobuf, and the "
            "collector's port for it, which is 4318"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()


class OpenTelemetryRecorder:
    """Spans of a tracer provider."""

    def __init__(self, provider: Any) -> None:
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._tracer = provider.get_tracer("vila2")
        self._context = TraceContextTextMapPropagator()
        self._kinds = {kind.name.lower(): kind for kind in SpanKind}

    @contextmanager
    def span(
        self, name: str, kind: tracing.Kind, parent: str, attributes: Mapping[str, tracing.Value]
    ) -> Iterator[tracing.Span]:
        """A span below `parent`, ended with the block; an exception is its error."""
        from opentelemetry.context import Context

        above = self._context.extract({tracing.HEADER: parent}, context=Context())
        with self._tracer.start_as_current_span(
            name, context=above, kind=self._kinds[kind], attributes=_named(attributes)
        ) as made:
            carried: dict[str, str] = {}
            self._context.inject(carried)
            yield _Recorded(carried[tracing.HEADER], made)


class _Recorded(tracing.Span):
    def __init__(self, traceparent: str, span: Any) -> None:
        super().__init__(traceparent)
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, **attributes: tracing.Value) -> None:
        self._span.set_attributes(_named(attributes))


def _named(attributes: Mapping[str, tracing.Value]) -> dict[str, tracing.Value]:
    return {name.replace("__", "."): value for name, value in attributes.items()}
