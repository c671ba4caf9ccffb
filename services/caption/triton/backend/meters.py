"""The engine's metrics on Triton's /metrics, the same for all. It runs in Triton's process."""

from __future__ import annotations

import triton_python_backend_utils as pb_utils

# Triton completes its module after these files are imported: its classes are used by name here.
COUNTER, GAUGE = "COUNTER", "GAUGE"
METRICS = (
    ("prompt_tokens_total", COUNTER, "Tokens read, images included"),
    ("output_tokens_total", COUNTER, "Tokens generated"),
    ("rows_total", COUNTER, "Rows that a step of the engine worked on, summed"),
    ("slots_total", COUNTER, "Rows that the same steps had room for, summed"),
    ("running_requests", GAUGE, "Rows in the engine's batch"),
    ("waiting_requests", GAUGE, "Requests that wait for a row"),
)
# Of an engine with a paged cache.
CACHE = (
    ("kv_cache_usage_ratio", GAUGE, "Share of the KV cache in use"),
    ("preemptions_total", COUNTER, "Rows that lost their place in the KV cache and began anew"),
)


class Meters:
    """Metrics by short name; keeps the families alive, as they own their metrics."""

    def __init__(self, model, metrics=METRICS):
        self.families, self.metrics = [], {}
        for name, kind, description in metrics:
            family = pb_utils.MetricFamily(
                name=f"vila2_engine_{name}",
                description=description,
                kind=getattr(pb_utils.MetricFamily, kind),
            )
            self.families.append(family)
            self.metrics[name] = family.Metric(labels={"model": model})

    def add(self, **counts):
        for name, count in counts.items():
            if name in self.metrics:
                self.metrics[name].increment(count)

    def set(self, **values):
        for name, value in values.items():
            if name in self.metrics:
                self.metrics[name].set(value)

    def close(self):
        """Give the metrics up while Triton's memory is there: later, freeing them crashes."""
        self.metrics.clear()
        self.families.clear()
