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
REJECTIONS = Counter(
    "vila2_gate_rejections_total", "Answers that the gate refused, by reason.", ["reason"]
)
RETRIES = Counter("vila2_caption_retries_total", "Further attempts at a caption.")
CAPTION_WORDS = Histogram(
    "vila2_caption_words", "Length of captions.", buckets=(2, 5, 10, 20, 40, 60, 80, 120, 200, 400)
)
CAPTION_CONSISTENCY = Histogram(
    "vila2_caption_consistency",
    "Consistency scores of captions that passed the checks of the text, nats per token.",
    buckets=(-2, -1, -0.5, -0.2, 0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4),
)
UNITS_CLAIMED = Counter("vila2_units_claimed_total", "Work units taken.", ["task"])
UNITS_REDELIVERED = Counter(
    "vila2_units_redelivered_total", "Work units taken again, whose first worker left.", ["task"]
)
UNITS_ENDED = Counter(
    "vila2_units_ended_total", "Work units by how an attempt ended.", ["task", "outcome"]
)
UNIT_SECONDS = Histogram(
    "vila2_unit_seconds", "Time at a work unit.", ["task"], buckets=(1, 5, 15, 60, 300, 900, 3600)
)
QUEUE_AGE = Gauge(
    "vila2_queue_oldest_seconds", "How long the oldest claimable unit has waited.", ["service"]
)
LEASE_AGE = Gauge(
    "vila2_lease_oldest_seconds", "Since the oldest live lease was last renewed.", ["service"]
)
CAPTION_TOKENS = Counter("vila2_caption_tokens_total", "Generated tokens.")
SAMPLES_INGESTED = Counter("vila2_samples_ingested_total", "Samples by outcome.", ["outcome"])
JOBS = Counter("vila2_jobs_total", "Training and evaluation jobs ended.", ["kind", "state"])
JOBS_NOW = Gauge("vila2_jobs_active", "Jobs that have not ended, by state.", ["kind", "state"])
JOB_QUEUE_SECONDS = Histogram(
    "vila2_job_queue_seconds",
    "From a job's submission to its start; once more where it was interrupted.",
    ["kind"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)
JOB_HOURS = Gauge(
    "vila2_job_hours",
    "Processes x hours of all attempts so far: of GPUs, or of processes without.",
    ["team", "unit"],
)
PROMOTIONS = Counter("vila2_promotions_total", "Stage changes decided.", ["action", "outcome"])
VERDICTS = Counter("vila2_verdicts_total", "Rounds judged.", ["verdict"])
LEADER = Gauge("vila2_leader", "1 where this process leads.", ["role"])
LEADERSHIPS = Counter("vila2_leaderships_total", "Leases taken from another or anew.", ["role"])
RECONCILE_SECONDS = Histogram(
    "vila2_reconcile_seconds", "A look at every run.", buckets=(0.01, 0.05, 0.2, 1, 5, 20, 60)
)
RUNS_IN_TROUBLE = Gauge("vila2_runs_in_trouble", "Runs that nothing could be done for just now.")
EVENTS_PUBLISHED = Counter("vila2_events_published_total", "Run events published.")

AUDIT_UNRECORDED = Counter(
    "vila2_audit_unrecorded_total",
    "Requests that belong into the audit log and are not there: of strangers beyond the bound, or "
    "because the database did not take them (then the process's log has them).",
    ["reason"],
)
RATE_LIMITED = Counter("vila2_rate_limited_total", "Requests answered with 429.", ["team"])
LIMITER_ALONE = Counter(
    "vila2_rate_limiter_alone_total",
    "Requests that this process limited by itself, because the shared buckets were out of reach.",
)

ENGINE_IN_FLIGHT = Gauge("vila2_engine_in_flight", "Requests at the inference server.", ["model"])
ENGINE_WINDOW = Gauge("vila2_engine_window", "Requests it may have at once.", ["model"])
ENGINE_TROUBLE = Counter(
    "vila2_engine_trouble_total",
    "Requests that will be asked again, by reason: busy, down, notloaded, crashed.",
    ["reason"],
)
