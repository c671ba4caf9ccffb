"""Metrics, defined once for all services and labelled by service; never by unit or picture."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "vila2_http_requests_total", "Requests answered.", ["service", "method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "vila2_http_request_seconds", "Time to answer.", ["service", "method", "route"]
)
CAPTIONS = Counter("vila2_captions_total", "Captions by outcome.", ["outcome"])
CAPTION_TOKENS = Counter("vila2_caption_tokens_total", "Generated tokens.")
SAMPLES_INGESTED = Counter("vila2_samples_ingested_total", "Samples by outcome.", ["outcome"])
JOBS = Counter("vila2_jobs_total", "Training and evaluation jobs ended.", ["kind", "state"])
VERDICTS = Counter("vila2_verdicts_total", "Rounds judged.", ["verdict"])

ENGINE_IN_FLIGHT = Gauge("vila2_engine_in_flight", "Requests at the inference server.", ["model"])
ENGINE_WINDOW = Gauge("vila2_engine_window", "Requests it may have at once.", ["model"])
ENGINE_TROUBLE = Counter(
    "vila2_engine_trouble_total",
    "Requests that will be asked again, by reason: busy, down, notloaded, crashed.",
    ["reason"],
)
