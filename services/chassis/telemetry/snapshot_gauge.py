"""A gauge that exports exactly the series of its last snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class Listed(Collector):
    """For labels that are bounded only because old ones disappear: active runs, jobs, layers.

    An ordinary gauge keeps labels forever, and removing them one by one is visible to a concurrent
    scrape. `show` replaces all series atomically; a scrape never queries the database.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.name, self.documentation, self.labels = name, documentation, tuple(labels)
        self._shown: Mapping[tuple[str, ...], float] = {}
        registry.register(self)

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Replace all series; each key holds the label values in label order."""
        wrong = [key for key in values if len(key) != len(self.labels)]
        if wrong:
            raise ValueError(f"{self.name} has the labels {self.labels}, not {wrong[0]}")
        self._shown = dict(values)

    def collect(self) -> Iterable[Metric]:
        """The series of the last snapshot."""
        family = self._family()
        for key, value in self._shown.items():
            family.add_metric(key, value)
        yield family

    def describe(self) -> Iterable[Metric]:
        """Used by the registry to detect duplicate names."""
        yield self._family()

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
