"""Options to export Triton's spans to the same collector as the platform's. Pure."""

from __future__ import annotations

from collections.abc import Mapping


def trace_options(environment: Mapping[str, str]) -> list[str]:
    """The server's options for OpenTelemetry; none if the environment names no collector.

    Triton's spans join the trace of the `traceparent` that a request carries.
    """
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or environment.get("OTEL_TRACES_EXPORTER", "otlp") != "otlp":
        return []
    url = environment.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
    base = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").rstrip("/")
    if not url and not base:
        return []
    return [
        "--trace-config=mode=opentelemetry",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=1",
        f"--trace-config=opentelemetry,url={url or f'{base}/v1/traces'}",
        "--trace-config=opentelemetry,resource=service.name=vila2-triton",
    ]
