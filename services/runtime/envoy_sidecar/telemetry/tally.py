"""Counters for the hot path: plain dict updates in process, read only when exported.

An OpenTelemetry instrument costs microseconds a call (attribute sets are hashed and locked); a dict update costs
tens of nanoseconds. Each object here is written by one thread only (the transport's dispatcher, or the event loop);
a reader may see a value that is one update old.
"""

from collections.abc import Iterable, Sequence

OTHER = "other"


class Tally:
    """A counter with labels: `add(("allow", "ns/policy"))`.

    `name` is in OpenTelemetry's form (`authz.decisions`). At most *cap* label sets are kept; what comes after is
    counted under `other`, so that hostile or careless values cannot grow the export. The first *keep* labels stay as
    they are, so they must be of few values that no caller chooses: a refusal that is one too many is still counted as
    a refusal. `overflow` is how much was counted so.
    """

    __slots__ = ("cap", "counts", "description", "keep", "label_names", "name", "overflow")

    def __init__(
        self,
        name: str,
        description: str,
        label_names: Sequence[str] = (),
        *,
        cap: int = 1000,
        keep: int = 0,
    ) -> None:
        self.name = name
        self.description = description
        self.label_names = tuple(label_names)
        self.cap = cap
        self.keep = keep
        self.overflow = 0
        self.counts: dict[tuple[str, ...], int] = {}

    def begin(self, labels: Iterable[tuple[str, ...]] = ((),)) -> None:
        """Show 0 under each of *labels*: from nothing to one is no increase to Prometheus, so an alert would miss the first."""
        for each in labels:
            self.add(each, 0)

    def add(self, labels: tuple[str, ...] = (), amount: int = 1) -> None:
        """Count *amount* (0 or more) under *labels*, as many as `label_names`."""
        counts = self.counts
        if labels in counts:
            counts[labels] += amount
        elif len(counts) < self.cap:
            counts[labels] = amount
        else:
            other = labels[: self.keep] + (OTHER,) * (len(labels) - self.keep)
            counts[other] = counts.get(other, 0) + amount
            self.overflow += amount

    def value(self, labels: tuple[str, ...] = ()) -> int:
        """Return the count under *labels*; 0 if never counted."""
        return self.counts.get(labels, 0)
