"""The heaviest keys of a stream in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, 2005)."""

from collections.abc import Hashable
from heapq import heapify, heappop, heappush, nlargest
from typing import Generic, NamedTuple, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Heavy(NamedTuple, Generic[KeyT]):
    """A key with its estimated weight: the true one is at most `weight` and at least `weight - error`."""

    key: KeyT
    weight: int
    error: int


class SpaceSaving(Generic[KeyT]):
    """Counts at most *capacity* keys; every key that weighs over 1/capacity of the whole is among them.

    For a new key beyond, the lightest leaves, and the new one inherits its count as its possible error. Not
    thread-safe, but `heaviest` may be called from any thread.
    """

    __slots__ = ("_capacity", "_counts", "_heap", "total")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"a sketch of {capacity} keys holds nothing: at least 1 is needed")
        self._capacity = capacity
        self._counts: dict[KeyT, tuple[int, int]] = {}
        # (a count that the key once had, when it came, key): the least is a lower bound of its count now.
        self._heap: list[tuple[int, int, KeyT]] = []
        self.total = 0

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, key: KeyT, weight: int = 1) -> None:
        """Count *weight* (1 or more) for *key*."""
        self.total += weight
        counts = self._counts
        known = counts.get(key)
        if known is not None:
            counts[key] = (known[0] + weight, known[1])
            return
        floor = 0
        if len(counts) >= self._capacity:
            floor = self._drop_lightest()
        counts[key] = (floor + weight, floor)
        heappush(self._heap, (floor + weight, self.total, key))

    def _drop_lightest(self) -> int:
        """Remove the lightest key and return its count; counts that rose since they were filed are filed again."""
        heap, counts = self._heap, self._counts
        while True:
            filed, order, key = heappop(heap)
            count = counts[key][0]
            if count == filed:
                del counts[key]
                return count
            heappush(heap, (count, order, key))

    def heaviest(self, most: int) -> list[Heavy[KeyT]]:
        """Return the *most* heaviest keys, the heaviest first."""
        found = list(self._counts.items())
        return [
            Heavy(key, count, error)
            for key, (count, error) in nlargest(most, found, key=lambda item: item[1][0])
        ]

    def halve(self) -> None:
        """Let all counts fade to a half, so that what was heavy long ago makes room; what comes to 0 leaves."""
        faded = {key: (count // 2, error // 2) for key, (count, error) in self._counts.items() if count > 1}
        self._heap = [(count, order, key) for order, (key, (count, _)) in enumerate(faded.items())]
        heapify(self._heap)
        self._counts = faded
        self.total = max(self.total // 2, len(faded))
