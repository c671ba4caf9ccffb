"""A collector of OpenTelemetry spans over HTTP: protobuf from Python, JSON from Triton."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Seen:
    """A span; ids in hex."""

    process: str
    name: str
    trace: str
    span: str
    parent: str


@dataclass
class Collector:
    """What came in."""

    url: str
    spans: list[Seen] = field(default_factory=list)

    def of_trace(self, trace: str) -> list[Seen]:
        return [span for span in self.spans if span.trace == trace]


@contextmanager
def collector() -> Iterator[Collector]:
    """Listening on the loopback; its address is for OTEL_EXPORTER_OTLP_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            as_json = "json" in self.headers["content-type"]
            made.spans.extend(_of_json(body) if as_json else _of_protobuf(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quietly."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Collector(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def _of_protobuf(body: bytes) -> Iterator[Seen]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        named = {item.key: item.value.string_value for item in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                ids = (span.trace_id, span.span_id, span.parent_span_id)
                yield Seen(named["service.name"], span.name, *(each.hex() for each in ids))


def _of_json(body: bytes) -> Iterator[Seen]:
    for resource in json.loads(body)["resourceSpans"]:
        held = resource["resource"]["attributes"]
        named = {item["key"]: item["value"].get("stringValue", "") for item in held}
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                yield Seen(
                    named["service.name"], span["name"], span["traceId"], span["spanId"],
                    span.get("parentSpanId", ""),
                )  # fmt: skip
