"""Training: jobs, what they reach of the hardware, and who waits for it."""

from __future__ import annotations

from panels import Board, Panel, Query, Row, Variable

_RUN = '{run=~"$run"}'


def _of_jobs(
    title: str, metric: str, description: str, unit: str, *, most: float | None = None
) -> Panel:
    """A line for each running job."""
    query = Query(f"{metric}{_RUN}", "{{name}} {{stage}}")
    return Panel(title, description, [query], unit, least=0, most=most)


BOARD = Board(
    uid="vila2-training",
    title="VILA² training",
    description="What running trainings say of themselves, and the queue behind them.",
    variables=[Variable("run", "vila2_run_info")],
    rows=[
        Row(
            "Running jobs",
            [
                _of_jobs(
                    "Loss", "vila2_job_loss", "Of the newest step, nats per token.", "short"
                ),
                _of_jobs(
                    "Tokens",
                    "vila2_job_tokens_per_second",
                    "Of all processes together, mean of the stage so far.",
                    "ops",
                ),
                _of_jobs(
                    "MFU",
                    "vila2_job_mfu_ratio",
                    "Model operations a second against what a large matrix product reaches here.",
                    "percentunit",
                ),
                _of_jobs(
                    "Waiting for data",
                    "vila2_job_data_wait_ratio",
                    "Share of the time in which a step's data was not ready.",
                    "percentunit",
                    most=1,
                ),
                _of_jobs(
                    "Done", "vila2_job_progress_ratio", "Share of all its steps.", "percentunit",
                    most=1,
                ),
                _of_jobs(
                    "Still takes", "vila2_job_eta_seconds", "By the pace of this start.", "s"
                ),
            ],
        ),
        Row(
            "Queue",
            [
                Panel(
                    "Jobs by state",
                    "Those that have not ended.",
                    [
                        Query(
                            "max by (kind, state) (vila2_jobs_active)", "{{kind}} {{state}}"
                        )
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Slots",
                    "Jobs that run, and how many may.",
                    [
                        Query(
                            "sum(max by (kind, state) "
                            '(vila2_jobs_active{state=~"starting|running"}))',
                            "in use",
                        ),
                        Query("max(vila2_job_slots)", "slots"),
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Oldest that waits",
                    "Since its submission. GpuIdleWhileWorkWaits fires where slots are free for 15 "
                    "minutes.",
                    [Query("max by (kind) (vila2_job_oldest_seconds)", "{{kind}}")],
                    "s", least=0,
                ),
                Panel(
                    "Time in the queue",
                    "Of jobs that started: half and nine tenths waited less.",
                    [
                        Query(
                            f"histogram_quantile({share}, "
                            "sum by (le) (rate(vila2_job_queue_seconds_bucket[1h])))",
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.9, "p90"))
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Ended within an hour",
                    "By kind and how. JobsFail fires at two failures.",
                    [
                        Query(
                            "sum by (kind, state) (increase(vila2_jobs_total[1h]))",
                            "{{kind}} {{state}}",
                        )
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Hours used",
                    "Processes times hours of all attempts, by team: of GPUs, or of processes "
                    "without.",
                    [Query("max by (team, unit) (vila2_job_hours)", "{{team}} {{unit}}")],
                    "h", "bars",
                ),
                Panel(
                    "Specialists at work",
                    "Training or captioning.",
                    [Query("max by (state) (vila2_specialists_active)", "{{state}}")],
                    "short", least=0,
                ),
            ],
        ),
    ],
)  # fmt: skip
