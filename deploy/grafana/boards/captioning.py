"""Captioning: how fast, how good, and what holds it up."""

from __future__ import annotations

from panels import Board, Panel, Query, Row, Variable

_MODEL = '{model=~"$model"}'

BOARD = Board(
    uid="vila2-captioning",
    title="VILA² captioning",
    description="Pictures and tokens a second, the engine's efficiency, what the gate refuses, and "
    "the queue of shards.",
    variables=[Variable("model", "vila2_engine_tokens_total")],
    rows=[
        Row(
            "Speed",
            [
                Panel(
                    "Pictures",
                    "Samples settled: captioned, or quarantined after the last attempt.",
                    [
                        Query(
                            'sum(rate(vila2_captions_total{outcome="captioned"}[$__rate_interval]))',
                            "captioned",
                        ),
                        Query("sum(rate(vila2_captions_total[$__rate_interval]))", "settled"),
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Tokens",
                    "Read (prompts, pictures included) and generated; refused answers count too.",
                    [
                        Query(
                            "sum by (kind) "
                            f"(rate(vila2_engine_tokens_total{_MODEL}[$__rate_interval]))",
                            "{{kind}}",
                        )
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Layers left",
                    "Samples of the layers in the making that are not settled yet.",
                    [
                        Query(
                            f'sum by (layer_job) (vila2_layer_samples{{what="total",{_MODEL[1:]}) '
                            "- sum by (layer_job) "
                            f'(vila2_layer_samples{{what!="total",{_MODEL[1:]})',
                            "{{layer_job}}",
                        )
                    ],
                    "short", least=0,
                ),
            ],
        ),
        Row(
            "Engine",
            [
                Panel(
                    "Efficiency",
                    "Tokens generated in a second in which the model is asked, against the "
                    "best of the last day. The alert EngineSlow fires below one half.",
                    [Query(f"vila2:engine_efficiency:ratio{_MODEL}", "{{model}}")],
                    "percentunit", least=0, most=1,
                ),
                Panel(
                    "Speed while asked",
                    "Tokens generated in a second in which the model is asked.",
                    [Query(f"vila2:engine_speed:tokens_per_busy_second{_MODEL}", "{{model}}")],
                    "ops", least=0,
                ),
                Panel(
                    "Time in which it is asked",
                    "Share of the time in which any worker has a question open.",
                    [Query(f"vila2:engine_busy:ratio5m{_MODEL}", "{{model}}")],
                    "percentunit", least=0, most=1,
                ),
                Panel(
                    "Requests at Triton",
                    "Requests at the inference server, and how many a client lets in at once. Near "
                    "the window the engine is the limit, far below it the workers are.",
                    [
                        Query(f"sum by (model) (vila2_engine_in_flight{_MODEL})", "{{model}}"),
                        Query(f"sum by (model) (vila2_engine_window{_MODEL})", "{{model}} window"),
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Batch filled",
                    "Rows that a step of the engine worked on, of those it had room for (Triton's "
                    "Python backend).",
                    [
                        Query(
                            "sum by (model) "
                            f"(rate(vila2_engine_rows_total{_MODEL}[$__rate_interval]))"
                            " / sum by (model) "
                            f"(rate(vila2_engine_slots_total{_MODEL}[$__rate_interval]) > 0)",
                            "{{model}}",
                        )
                    ],
                    "percentunit", least=0, most=1,
                ),
                Panel(
                    "Trouble",
                    "Requests that had to be asked again. `busy` is a full queue and harmless.",
                    [
                        Query(
                            "sum by (reason) (rate(vila2_engine_trouble_total[$__rate_interval]))",
                            "{{reason}}",
                        )
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "GPU use",
                    "Of the inference server, as Triton reads it from the driver.",
                    [Query("nv_gpu_utilization", "{{gpu_uuid}}")],
                    "percentunit", width=12, least=0, most=1,
                ),
                Panel(
                    "GPU memory",
                    "Of the inference server.",
                    [
                        Query(
                            "nv_gpu_memory_used_bytes / nv_gpu_memory_total_bytes", "{{gpu_uuid}}"
                        )
                    ],
                    "percentunit", width=12, least=0, most=1,
                ),
            ],
        ),
        Row(
            "Quality",
            [
                Panel(
                    "Quarantined",
                    "Share of samples that end without a caption; `no-text` does not count. "
                    "QuarantineHigh fires above 5 %.",
                    [Query("vila2:quarantined:ratio15m", "quarantined")],
                    "percentunit", least=0,
                ),
                Panel(
                    "Why quarantined",
                    "Samples by the reason of their last attempt.",
                    [
                        Query(
                            "sum by (outcome) (rate(vila2_captions_total"
                            '{outcome!="captioned"}[$__rate_interval]))',
                            "{{outcome}}",
                        )
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Why refused",
                    "Answers that the gate refused, those that were tried again included.",
                    [
                        Query(
                            "sum by (reason) "
                            "(rate(vila2_gate_rejections_total[$__rate_interval]))",
                            "{{reason}}",
                        )
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Further attempts a picture",
                    "A captioner that gets worse shows here first.",
                    [
                        Query(
                            "sum(rate(vila2_caption_retries_total[$__rate_interval])) "
                            "/ (sum(rate(vila2_captions_total[$__rate_interval])) > 0)",
                            "attempts",
                        )
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Length",
                    "Words of captions that passed: the middle, and a tenth from each end.",
                    [
                        Query(
                            f"histogram_quantile({share}, "
                            "sum by (le) (rate(vila2_caption_words_bucket[$__rate_interval])))",
                            name,
                        )
                        for share, name in ((0.1, "p10"), (0.5, "p50"), (0.9, "p90"))
                    ],
                    "short", least=0,
                ),
                Panel(
                    "Consistency",
                    "How much a caption owes to its picture, nats per token; where recipes ask "
                    "for scores.",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le) "
                            "(rate(vila2_caption_consistency_bucket[$__rate_interval])))",
                            name,
                        )
                        for share, name in ((0.1, "p10"), (0.5, "p50"))
                    ],
                    "short",
                ),
            ],
        ),
        Row(
            "Shards",
            [
                Panel(
                    "Oldest that waits",
                    "How long a shard that could be taken has waited. QueueOld fires at 15 min.",
                    [
                        Query(
                            'max(vila2_queue_oldest_seconds{service="caption"})', "oldest shard"
                        )
                    ],
                    "s", least=0,
                ),
                Panel(
                    "Ended",
                    "Attempts at shards by how they ended.",
                    [
                        Query(
                            "sum by (outcome) (rate(vila2_units_ended_total"
                            '{task="caption.shard"}[$__rate_interval]))',
                            "{{outcome}}",
                        )
                    ],
                    "ops", least=0,
                ),
                Panel(
                    "Time at one",
                    "Half and nine tenths of the shards take less.",
                    [
                        Query(
                            f"histogram_quantile({share}, sum by (le) "
                            "(rate(vila2_unit_seconds_bucket"
                            '{task="caption.shard"}[$__rate_interval])))',
                            name,
                        )
                        for share, name in ((0.5, "p50"), (0.9, "p90"))
                    ],
                    "s", least=0,
                ),
            ],
        ),
    ],
)  # fmt: skip
