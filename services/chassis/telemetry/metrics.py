"""Metrics, defined once for all services and labelled by service, never by unit or image.

Metrics labelled by run, job or layer are `Listed`: only active ones have series.
`python -m services.chassis.telemetry.metrics_table` prints all metrics as a table.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

from services.chassis.telemetry.snapshot_gauge import Listed

# Every process.
BUILD = Info("vila2_build", "Versions of the software and of Python.")
DISK_FREE = Gauge("vila2_disk_free_bytes", "Free space on the disk of a folder.", ["folder"])
DISK_SIZE = Gauge("vila2_disk_size_bytes", "Size of that disk.", ["folder"])
DATABASE_UP = Gauge(
    "vila2_database_up", "1 if the last query of the tables succeeded.", ["service"]
)
OBJECTS_UP = Gauge(
    "vila2_object_store_up", "1 if the last check of the store succeeded.", ["service"]
)
LOOKED_AT = Gauge(
    "vila2_looked_timestamp_seconds", "When a service last queried its tables.", ["service"]
)

# Requests.
REQUESTS = Counter(
    "vila2_http_requests_total", "Requests answered.", ["service", "method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "vila2_http_request_seconds", "Time to respond.", ["service", "method", "route"]
)

# Work units.
UNITS_CLAIMED = Counter("vila2_units_claimed_total", "Work units claimed.", ["task"])
UNITS_REDELIVERED = Counter(
    "vila2_units_redelivered_total",
    "Work units taken over from a worker whose lease had expired.",
    ["task"],
)
UNITS_ENDED = Counter(
    "vila2_units_ended_total",
    "Attempts at work units by outcome: done, failed, refused, postponed.",
    ["task", "outcome"],
)
UNIT_SECONDS = Histogram(
    "vila2_unit_seconds",
    "Time spent on a work unit.",
    ["task"],
    buckets=(1, 5, 15, 60, 300, 900, 3600),
)
LEASES_LOST = Counter(
    "vila2_leases_lost_total",
    "Units that were taken over or cancelled before their worker had finished.",
    ["task"],
)
QUEUE_AGE = Gauge(
    "vila2_queue_oldest_seconds", "Time that the oldest claimable unit has waited.", ["service"]
)
LEASE_AGE = Gauge(
    "vila2_lease_oldest_seconds", "Time since the oldest live lease was renewed.", ["service"]
)

# Data.
SAMPLES_INGESTED = Counter(
    "vila2_samples_ingested_total", "Ingested samples by outcome.", ["outcome"]
)

# Captioning.
CAPTIONS = Counter(
    "vila2_captions_total",
    "Samples by outcome: `captioned`, or the reason of the quarantine.",
    ["outcome"],
)
REJECTIONS = Counter(
    "vila2_gate_rejections_total", "Captions that the gate rejected, by reason.", ["reason"]
)
RETRIES = Counter("vila2_caption_retries_total", "Retries of captions.")
CAPTION_WORDS = Histogram(
    "vila2_caption_words", "Words per caption.", buckets=(2, 5, 10, 20, 40, 60, 80, 120, 200, 400)
)
CAPTION_TOKENS = Counter("vila2_caption_tokens_total", "Tokens of the last attempt at each sample.")
CAPTION_CONSISTENCY = Histogram(
    "vila2_caption_consistency",
    "Consistency scores of captions that passed the text checks, nats per token.",
    buckets=(-2, -1, -0.5, -0.2, 0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4),
)
LAYER_SAMPLES = Listed(
    "vila2_layer_samples",
    "Samples of the layers being made: captioned, quarantined and total.",
    ["layer_job", "run", "model", "what"],
)

# The engine, measured in its client in this process.
ENGINE_OPEN = Gauge(
    "vila2_engine_open", "Requests to the engine that it has not answered yet.", ["model"]
)
ENGINE_BUSY_SECONDS = Counter(
    "vila2_engine_busy_seconds_total", "Time with at least one open request.", ["model"]
)
ENGINE_ANSWERS = Counter("vila2_engine_answers_total", "Requests answered.", ["model"])
ENGINE_TOKENS = Counter(
    "vila2_engine_tokens_total",
    "Prompt and output tokens, including those of rejected captions.",
    ["model", "kind"],
)
ENGINE_IN_FLIGHT = Gauge(
    "vila2_engine_in_flight", "Open requests at the inference server.", ["model"]
)
ENGINE_WINDOW = Gauge("vila2_engine_window", "Most requests that may be open at once.", ["model"])
ENGINE_TROUBLE = Counter(
    "vila2_engine_trouble_total",
    "Requests that will be retried, by reason: busy, down, notloaded, crashed.",
    ["reason"],
)

# Training and evaluation.
JOBS = Counter("vila2_jobs_total", "Training and evaluation jobs that ended.", ["kind", "state"])
JOBS_NOW = Gauge("vila2_jobs_active", "Jobs that have not ended, by state.", ["kind", "state"])
JOB_SLOTS = Gauge("vila2_job_slots", "Most jobs that may run at once.")
JOB_WAIT = Gauge(
    "vila2_job_oldest_seconds", "Time that the oldest queued job has waited.", ["kind"]
)
JOB_QUEUE_SECONDS = Histogram(
    "vila2_job_queue_seconds",
    "Time from a job's submission to its start; again after each interruption.",
    ["kind"],
    buckets=(1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600),
)
JOB_HOURS = Gauge(
    "vila2_job_hours",
    "GPU-hours of all attempts so far, or process-hours of those without a GPU.",
    ["team", "unit"],
)
# Not `job`: Prometheus sets that label on every series and would rename ours.
_JOB = ["job_id", "run", "name", "stage"]
JOB_PROGRESS = Listed("vila2_job_progress_ratio", "Completed share of a running job.", _JOB)
JOB_ETA = Listed("vila2_job_eta_seconds", "Time left of a running job, by its own estimate.", _JOB)
JOB_LOSS = Listed("vila2_job_loss", "Loss of a running training job, nats per token.", _JOB)
JOB_TOKENS = Listed(
    "vila2_job_tokens_per_second",
    "Tokens per second of a running training job, over all processes.",
    _JOB,
)
JOB_MFU = Listed("vila2_job_mfu_ratio", "Model FLOPs utilization of a running training job.", _JOB)
JOB_IDLE = Listed(
    "vila2_job_data_wait_ratio",
    "Share of a running training job's time spent waiting for data.",
    _JOB,
)

# Runs.
RUNS_NOW = Gauge("vila2_runs", "Runs that have not ended, by state.", ["state"])
RUN_INFO = Listed(
    "vila2_run_info",
    "1 for each run that is active or ended within the last day.",
    ["run", "name", "team", "state"],
)
RUN_STARTED = Listed("vila2_run_started_timestamp_seconds", "When a run was started.", ["run"])
RUN_MOVED = Listed(
    "vila2_run_moved_timestamp_seconds",
    "When a running run last changed state or its work last made progress.",
    ["run"],
)
ROUND_STATE = Listed(
    "vila2_run_round_state", "1 for the current state of a round.", ["run", "round", "state"]
)
ROUND_SCORE = Listed(
    "vila2_run_round_score", "A round's score on a benchmark.", ["run", "round", "benchmark"]
)
ROUND_VERDICT = Listed(
    "vila2_run_round_verdict", "1 for the verdict on a round.", ["run", "round", "verdict"]
)
RUNS_IN_TROUBLE = Gauge(
    "vila2_runs_in_trouble", "Runs whose last reconciliation failed; it is retried."
)
SPECIALISTS_NOW = Gauge(
    "vila2_specialists_active", "Specialists that have not ended, by state.", ["state"]
)
VERDICTS = Counter("vila2_verdicts_total", "Verdicts on rounds.", ["verdict"])
LEADER = Gauge("vila2_leader", "1 if this process is the leader.", ["role"])
LEADERSHIPS = Counter("vila2_leaderships_total", "Leadership leases acquired.", ["role"])
RECONCILE_SECONDS = Histogram(
    "vila2_reconcile_seconds",
    "Time to reconcile all runs.",
    buckets=(0.01, 0.05, 0.2, 1, 5, 20, 60),
)
EVENTS_PUBLISHED = Counter("vila2_events_published_total", "Run events published.")

AUDIT_UNRECORDED = Counter(
    "vila2_audit_unrecorded_total",
    "Requests missing from the audit log: refused ones beyond the limit, or because "
    "the database rejected the entry (the process's log then has it).",
    ["reason"],
)
RATE_LIMITED = Counter("vila2_rate_limited_total", "Requests answered with 429.", ["team"])
LIMITER_ALONE = Counter(
    "vila2_rate_limiter_alone_total",
    "Requests limited by this process alone because the broker did not respond.",
)
