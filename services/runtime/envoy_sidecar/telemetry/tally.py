"""Counters for the hot path: plain dict updates in process, read only when exported.

An OpenTelemetry instrument costs microseconds a call (attribute sets are hashed and locked); a dict update costs
tens of nanoseconds. Each object here is written by one thread only (the transport's dispatcher, or the event loop);
a reader may see a value that is one update old.
"""

from collections.abc import Sequence

OTHER = "other"


class Tally:
    """A counter with labels: `add(("allow", "ns/policy"))`.

    `name` is in OpenTelemetry's form (`authz.decisions`). At most *cap* label sets are kept; what comes after is
    counted under `other` in every label, so that hostile or careless values cannot grow the export.
    """

    __slots__ = ("cap", "counts", "description", "label_names", "name")

    def __init__(
        self, name: str, description: str, label_names: Sequence[str] = (), *, cap: int = 1000
    ) -> None:
        self.name = name
        self.description = description
        self.label_names = tuple(label_names)
        self.cap = cap
        self.counts: dict[tuple[str, ...], int] = {}

    def add(self, labels: tuple[str, ...] = (), amount: int = 1) -> None:
        """Count *amount* (0 or more) under *labels*, as many as `label_names`."""
        counts = self.counts
        if labels in counts:
            counts[labels] += amount
        elif len(counts) < self.cap:
            counts[labels] = amount
        else:
            other = (OTHER,) * len(labels)
            counts[other] = counts.get(other, 0) + amount

    def value(self, labels: tuple[str, ...] = ()) -> int:
        """Return the count under *labels*; 0 if never counted."""
        return self.counts.get(labels, 0)
