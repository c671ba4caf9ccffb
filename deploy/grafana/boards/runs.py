"""Run overview: for the teams whose runs these are."""

from __future__ import annotations

from panels import Board, Panel, Query, Row, Variable

_RUN = '{run=~"$run"}'

BOARD = Board(
    uid="vila2-runs",
    title="VILA² run overview",
    description="Where every run is, whether it moves, and what its rounds came to.",
    variables=[Variable("run", "vila2_run_info")],
    since="now-2d",
    rows=[
        Row(
            "Now",
            [
                Panel(
                    "Runs in hand",
                    "Runs that have not ended, by state.",
                    [Query("max by (state) (vila2_runs)", "{{state}}")],
                    "short", "stat", width=4, height=6,
                ),
                Panel(
                    "In trouble",
                    "Runs for which nothing could be done at the last look; `vila2 runs show` says "
                    "why.",
                    [Query("max(vila2_runs_in_trouble)", "runs")],
                    "short", "stat", width=4, height=6,
                ),
                Panel(
                    "Runs",
                    "Those in hand, and those that ended within a day.",
                    [Query(f"max by (run, name, team, state) (vila2_run_info{_RUN})", "{{name}}")],
                    "short", "table", width=16, height=6,
                ),
                Panel(
                    "Since anything moved",
                    "Time since a round changed or since what works for the run got any further. "
                    "Above two hours the alert RunStuck fires.",
                    [
                        Query(
                            f"time() - max by (run) (vila2_run_moved_timestamp_seconds{_RUN})",
                            "{{run}}",
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Age",
                    "Time since the run was started.",
                    [
                        Query(
                            f"time() - max by (run) (vila2_run_started_timestamp_seconds{_RUN})",
                            "{{run}}",
                        )
                    ],
                    "s", "bars",
                ),
                Panel(
                    "Rounds",
                    "The state that each round is in.",
                    [
                        Query(
                            f"max by (run, round, state) (vila2_run_round_state{_RUN})",
                            "{{round}} {{state}}",
                        )
                    ],
                    "short", "table",
                ),
            ],
        ),
        Row(
            "What came of it",
            [
                Panel(
                    "Scores",
                    "Share of a benchmark's items that a round's model answered right.",
                    [
                        Query(
                            f"max by (run, round, benchmark) (vila2_run_round_score{_RUN})",
                            "{{round}}, {{benchmark}}",
                        )
                    ],
                    "percentunit", "bars", width=12, least=0, most=1,
                ),
                Panel(
                    "Verdicts",
                    "Whether a round helped: improved, no measurable change, or worse.",
                    [
                        Query(
                            f"max by (run, round, verdict) (vila2_run_round_verdict{_RUN})",
                            "{{round}} {{verdict}}",
                        )
                    ],
                    "short", "table", width=6,
                ),
                Panel(
                    "Verdicts of all runs",
                    "Rounds judged within a day.",
                    [
                        Query(
                            "sum by (verdict) (increase(vila2_verdicts_total[1d]))", "{{verdict}}"
                        )
                    ],
                    "short", width=6, least=0,
                ),
            ],
        ),
        Row(
            "What works for it",
            [
                Panel(
                    "Layers captioned",
                    "Share of the samples of a layer in the making that are captioned or "
                    "quarantined, as far as their shards are recorded.",
                    [
                        Query(
                            "sum by (run, layer_job) "
                            '(vila2_layer_samples{run=~"$run",what=~"captioned|quarantined"}) '
                            "/ sum by (run, layer_job) "
                            '(vila2_layer_samples{run=~"$run",what="total"})',
                            "{{layer_job}}",
                        )
                    ],
                    "percentunit", least=0, most=1,
                ),
                Panel(
                    "Jobs",
                    "Share of a running training or evaluation that is done.",
                    [Query(f"vila2_job_progress_ratio{_RUN}", "{{name}} {{stage}}")],
                    "percentunit", least=0, most=1,
                ),
                Panel(
                    "Jobs still take",
                    "As they say themselves.",
                    [Query(f"vila2_job_eta_seconds{_RUN}", "{{name}}")],
                    "s", least=0,
                ),
            ],
        ),
    ],
)  # fmt: skip
