"""Beside the tally: a histogram that costs nothing on the hot path, and gauges that are read when somebody asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import HistogramMetricFamily

from envoy_sidecar.telemetry.tally import Tally


class Histogram:
    """Counts values by the first of *bounds* (ascending) that they do not exceed. Written by one thread.

    `name` is in OpenTelemetry's form, with the unit at its end (`authz.latency.seconds`). Prometheus reads it;
    OpenTelemetry has no histogram that is only read, so that OTLP does not.
    """

    __slots__ = ("bounds", "counts", "description", "name", "sum")

    def __init__(self, name: str, description: str, bounds: Sequence[float]) -> None:
        self.name = name
        self.description = description
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def add(self, value: float, amount: int = 1) -> None:
        """Count *amount* values of *value*."""
        self.counts[bisect_left(self.bounds, value)] += amount
        self.sum += value * amount

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return what Prometheus reads, whose buckets are added up; see `prometheus_client.registry.Collector`."""
        below, buckets = 0, []
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        for name, count in zip(names, list(self.counts), strict=True):
            below += count
            buckets.append((name, float(below)))
        name = self.name.replace(".", "_")
        return [HistogramMetricFamily(name, self.description, buckets=buckets, sum_value=self.sum)]


class Gauges(NamedTuple):
    """Values by labels, as *read* returns them whenever somebody asks; it must be quick, and may be called by any thread."""

    name: str
    description: str
    label_names: tuple[str, ...]
    read: Callable[[], Iterable[tuple[tuple[str, ...], float]]]


Instrument = Tally | Histogram | Gauges
"""What a service may give to be exported."""
