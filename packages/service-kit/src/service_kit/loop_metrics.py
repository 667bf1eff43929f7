"""Metrics of one event loop, for what is counted thousands of times a second.

prometheus_client takes a lock and checks its arguments at each increment, which costs about a microsecond; a command
passes seven. These are plain numbers, written by one thread only and read when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class Cell:
    """One number; whoever counts adds to `value`."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: float = 0


class LoopCounter(Collector):
    """A counter.

    Args:
        name: ends with `_total`.
        documentation: its help text.
        labels: names of its labels.
        registry: where it is shown.
    """

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str] = (), *, registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._family = (name, documentation)
        self._labels = labels
        self._cells: dict[tuple[str, ...], Cell] = {}
        if not labels:
            self.cell()
        registry.register(self)

    def cell(self, *values: str) -> Cell:
        """The number for these values of the labels; keep it where it is counted often."""
        cell = self._cells.get(values)
        if cell is None:
            cell = self._cells[values] = Cell()
        return cell

    def describe(self) -> Iterable[Metric]:
        """See `Collector`: the family without its numbers."""
        yield CounterMetricFamily(*self._family, labels=self._labels)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`; called from another thread."""
        family = CounterMetricFamily(*self._family, labels=self._labels)
        for values, cell in list(self._cells.items()):
            family.add_metric(values, cell.value)
        yield family


class LoopGauge(Collector, Cell):
    """A gauge without labels; whoever changes it sets `value`."""

    def __init__(self, name: str, documentation: str, *, registry: CollectorRegistry = REGISTRY) -> None:
        super().__init__()
        self.value = 0
        self._family = (name, documentation)
        registry.register(self)

    def describe(self) -> Iterable[Metric]:
        """See `Collector`."""
        yield GaugeMetricFamily(*self._family)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        yield GaugeMetricFamily(*self._family, value=self.value)


class Distribution:
    """Observations in buckets."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


class LoopHistogram(Collector):
    """A histogram.

    Args:
        name: without suffix.
        documentation: its help text.
        labels: names of its labels.
        buckets: upper bounds, ascending; the one for everything above is added.
        registry: where it is shown.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._family = (name, documentation)
        self._labels = labels
        self._bounds = buckets
        self._distributions: dict[tuple[str, ...], Distribution] = {}
        registry.register(self)

    def distribution(self, *values: str) -> Distribution:
        """The observations for these values of the labels."""
        found = self._distributions.get(values)
        if found is None:
            found = self._distributions[values] = Distribution(self._bounds)
        return found

    def describe(self) -> Iterable[Metric]:
        """See `Collector`."""
        yield HistogramMetricFamily(*self._family, labels=self._labels)

    def collect(self) -> Iterable[Metric]:
        """See `Collector`."""
        family = HistogramMetricFamily(*self._family, labels=self._labels)
        for values, distribution in list(self._distributions.items()):
            below = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*map(str, self._bounds), "+Inf"), list(distribution.counts), strict=True):
                below += count
                buckets.append((bound, below))
            family.add_metric(values, buckets, distribution.sum)
        yield family
