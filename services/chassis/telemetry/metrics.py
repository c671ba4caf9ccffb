"""Metrics, defined once for all services and labelled by service; never by unit or image.

What is labelled by run, job or layer is `Listed`: only those in hand have series.
`python -m services.chassis.telemetry.metrics_table` prints them all as a table.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, Info

from services.chassis.telemetry.snapshot_gauge import Listed

# Every process.
BUILD = Info("vila2_build", "What runs here.")
DISK_FREE = Gauge("vila2_disk_free_bytes", "Free where the process keeps its files.", ["folder"])
DISK_SIZE = Gauge("vila2_disk_size_bytes", "All of it.", ["folder"])
DATABASE_UP = Gauge("vila2_database_up", "1 where the last look at the tables worked.", ["service"])
OBJECTS_UP = Gauge("vila2_object_store_up", "1 where the store answered last.", ["service"])
LOOKED_AT = Gauge(
    "vila2_looked_timestamp_seconds", "When a service last looked at its tables.", ["service"]
)

# Requests.
REQUESTS = Counter(
    "vila2_http_requests_total", "Requests answered.", ["service", "method", "route", "status"]
)
REQUEST_SECONDS = Histogram(
    "vila2_http_request_seconds", "Time to answer.", ["service", "method", "route"]
)

# Work units.
UNITS_CLAIMED = Counter("vila2_units_claimed_total", "Work units taken.", ["task"])
UNITS_REDELIVERED = Counter(
    "vila2_units_redelivered_total",
    "Work units taken over from a worker whose lease had run out.",
    ["task"],
)
UNITS_ENDED = Counter(
    "vila2_units_ended_total",
    "Attempts at work units by how they ended: done, failed, refused, postponed.",
    ["task", "outcome"],
)
UNIT_SECONDS = Histogram(
    "vila2_unit_seconds", "Time at a work unit.", ["task"], buckets=(1, 5, 15, 60, 300, 900, 3600)
)
LEASES_LOST = Counter(
    "vila2_leases_lost_total",
    "Units that were no longer their worker's when it was done: taken over, or cancelled.",
    ["task"],
)
QUEUE_AGE = Gauge(
    "vila2_queue_oldest_seconds", "How long the oldest claimable unit has waited.", ["service"]
)
LEASE_AGE = Gauge(
    "vila2_lease_oldest_seconds", "Since the oldest live lease was last renewed.", ["service"]
)

# Data.
SAMPLES_INGESTED = Counter("vila2_samples_ingested_total", "Samples by outcome.", ["outcome"])

# Captioning.
CAPTIONS = Counter(
    "vila2_captions_total", "Samples settled: `captioned`, or why quarantined.", ["outcome"]
)
REJECTIONS = Counter(
    "vila2_gate_rejections_total", "Answers that the gate refused, by reason.", ["reason"]
)
RETRIES = Counter("vila2_caption_retries_total", "Further attempts at a caption.")
CAPTION_WORDS = Histogram(
    "vila2_caption_words", "Length of captions.", buckets=(2, 5, 10, 20, 40, 60, 80, 120, 200, 400)
)
CAPTION_TOKENS = Counter("vila2_caption_tokens_total", "Tokens of the captions that were kept.")
CAPTION_CONSISTENCY = Histogram(
    "vila2_caption_consistency",
    "Consistency scores of captions that passed the checks of the text, nats per token.",
    buckets=(-2, -1, -0.5, -0.2, 0, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.5, 2, 4),
)
LAYER_SAMPLES = Listed(
    "vila2_layer_samples",
    "Samples of the layers in the making: captioned, quarantined, and total.",
    ["layer_job", "run", "model", "what"],
)

# The engine, as its client in this process sees it.
ENGINE_OPEN = Gauge(
    "vila2_engine_open", "Questions handed to the engine that it has not answered yet.", ["model"]
)
ENGINE_BUSY_SECONDS = Counter(
    "vila2_engine_busy_seconds_total", "Time during which a question was open.", ["model"]
)
ENGINE_ANSWERS = Counter("vila2_engine_answers_total", "Questions answered.", ["model"])
ENGINE_TOKENS = Counter(
    "vila2_engine_tokens_total",
    "Tokens read (prompt) and generated (output), those of refused answers included.",
    ["model", "kind"],
)
ENGINE_IN_FLIGHT = Gauge("vila2_engine_in_flight", "Requests at the inference server.", ["model"])
ENGINE_WINDOW = Gauge("vila2_engine_window", "Requests it may have at once.", ["model"])
ENGINE_TROUBLE = Counter(
    "vila2_engine_trouble_total",
    "Requests that will be asked again, by reason: busy, down, notloaded, crashed.",
    ["reason"],
)

# Training and evaluation.
JOBS = Counter("vila2_jobs_total", "Training and evaluation jobs ended.", ["kind", "state"])
JOBS_NOW = Gauge("vila2_jobs_active", "Jobs that have not ended, by state.", ["kind", "state"])
JOB_SLOTS = Gauge("vila2_job_slots", "Jobs that may run at once.")
JOB_WAIT = Gauge("vila2_job_oldest_seconds", "How long the oldest queued job has waited.", ["kind"])
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
# Not `job`: Prometheus gives that label to every series, and would put ours aside.
_JOB = ["job_id", "run", "name", "stage"]
JOB_PROGRESS = Listed("vila2_job_progress_ratio", "Share of a running job that is done.", _JOB)
JOB_ETA = Listed("vila2_job_eta_seconds", "How long a running job says it still takes.", _JOB)
JOB_LOSS = Listed("vila2_job_loss", "Loss of a running training, nats per token.", _JOB)
JOB_TOKENS = Listed(
    "vila2_job_tokens_per_second", "Tokens a second of a running training, all processes.", _JOB
)
JOB_MFU = Listed(
    "vila2_job_mfu_ratio", "Share of the hardware's peak that a running training reaches.", _JOB
)
JOB_IDLE = Listed(
    "vila2_job_data_wait_ratio",
    "Share of a running training's time that data was waited for.",
    _JOB,
)

# Runs.
RUNS_NOW = Gauge("vila2_runs", "Runs that have not ended, by state.", ["state"])
RUN_INFO = Listed(
    "vila2_run_info",
    "1 for every run that is in hand or ended within a day.",
    ["run", "name", "team", "state"],
)
RUN_STARTED = Listed("vila2_run_started_timestamp_seconds", "When a run was started.", ["run"])
RUN_MOVED = Listed(
    "vila2_run_moved_timestamp_seconds",
    "When a running run last changed or what works for it last got further.",
    ["run"],
)
ROUND_STATE = Listed(
    "vila2_run_round_state", "1 for the state that a round is in.", ["run", "round", "state"]
)
ROUND_SCORE = Listed(
    "vila2_run_round_score", "A round's score on a benchmark.", ["run", "round", "benchmark"]
)
ROUND_VERDICT = Listed(
    "vila2_run_round_verdict", "1 for the verdict on a round.", ["run", "round", "verdict"]
)
RUNS_IN_TROUBLE = Gauge("vila2_runs_in_trouble", "Runs that nothing could be done for just now.")
SPECIALISTS_NOW = Gauge(
    "vila2_specialists_active", "Specialists that have not ended, by state.", ["state"]
)
VERDICTS = Counter("vila2_verdicts_total", "Rounds judged.", ["verdict"])
LEADER = Gauge("vila2_leader", "1 where this process leads.", ["role"])
LEADERSHIPS = Counter("vila2_leaderships_total", "Leases taken from another or anew.", ["role"])
RECONCILE_SECONDS = Histogram(
    "vila2_reconcile_seconds", "A look at every run.", buckets=(0.01, 0.05, 0.2, 1, 5, 20, 60)
)
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
    "Requests that this process limited by itself, because the broker did not answer.",
)
