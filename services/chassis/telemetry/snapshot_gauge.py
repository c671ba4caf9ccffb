"""A gauge whose series come and go: those of its last look, all at once, and no others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import REGISTRY
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry


class Listed(Collector):
    """For what is bounded only because what has ended leaves: runs, jobs and layers in hand.

    An ordinary gauge keeps a label for ever, and taking labels away one by one lets a scrape in
    between. `show` replaces all series at once; a scrape reads no table and waits for nothing.
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
        """These and no others; each key has a value for every label, in their order."""
        wrong = [key for key in values if len(key) != len(self.labels)]
        if wrong:
            raise ValueError(f"{self.name} has the labels {self.labels}, not {wrong[0]}")
        self._shown = dict(values)

    def collect(self) -> Iterable[Metric]:
        """The series of the last look."""
        family = self._family()
        for key, value in self._shown.items():
            family.add_metric(key, value)
        yield family

    def describe(self) -> Iterable[Metric]:
        """What the registry holds against other metrics' names."""
        yield self._family()

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(self.name, self.documentation, labels=self.labels)
