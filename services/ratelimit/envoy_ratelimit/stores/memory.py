"""Buckets in this process: exact for one worker, and bounded."""

import time
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from envoy_ratelimit.core.store import Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, Outcome, outcome, take

MAX_BUCKETS = 1_000_000
"""The cap of live buckets; around 300 bytes each with keys of usual length (see the test of the cap)."""
_SWEEP = 256
"""Buckets looked at per batch when some are due, so that no batch pays for the end of a busy minute alone."""

_Slot = tuple[int, int]
"""A second, and the ticks per microsecond of the buckets that are due in it."""


def monotonic_us() -> int:
    """Return the process's monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000


class MemoryStore:
    """The memory store. Not thread-safe: it belongs to the transport's one dispatcher thread.

    A bucket that is full again leaves. At most *max_buckets* live: for a new one beyond, the one that would be full
    soonest leaves, so a flood of fresh keys costs those buckets least that are nearly empty. *clock* gives
    microseconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], int] = monotonic_us, max_buckets: int = MAX_BUCKETS) -> None:
        if max_buckets < 1:
            raise ValueError(f"a store of {max_buckets} buckets holds nothing: at least 1 is needed")
        self._clock = clock
        self._max_buckets = max_buckets
        self._buckets: dict[str, int] = {}
        # Each bucket stands in one slot: that of the second it was due in when it was last looked at.
        self._slots: dict[_Slot, list[str]] = {}
        self._order: list[_Slot] = []

    def __len__(self) -> int:
        return len(self._buckets)

    def close(self) -> None:
        """Forget all buckets."""
        self._buckets.clear()
        self._slots.clear()
        self._order.clear()

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        """See BucketStore; never raises StoreError."""
        now_us = self._clock()
        if self._order and self._order[0][0] * MICROSECONDS <= now_us:
            self._sweep(now_us)
        return [self._take_one(takes, now_us) for takes in batch]

    def _take_one(self, takes: Sequence[Take], now_us: int) -> list[Outcome]:
        """Decide the usual request, whose takes are all charged; `take` and `outcome` are written out for speed."""
        buckets = self._buckets
        charges: dict[str, tuple[int, int]] = {}
        outcomes: list[Outcome] = []
        for key, spec, cost, _enforced in takes:
            _capacity, interval, scale, span = spec
            now = now_us * scale
            tat = buckets.get(key, 0)
            after = cost * interval + (tat if tat > now else now)  # noqa: FURB136 - max() is slower
            room = now + span - after
            if room < 0 or cost < 1:
                return self._take_with_care(takes, now_us)
            charges[key] = (after, scale)
            outcomes.append((True, room // interval, -((now - after) // scale)))
        if len(charges) < len(takes):
            return self._take_with_care(takes, now_us)
        for key, (after, scale) in charges.items():
            if key in buckets:
                buckets[key] = after
            else:
                self._add(key, after, scale)
        return outcomes

    def _take_with_care(self, takes: Sequence[Take], now_us: int) -> list[Outcome]:
        """Decide any request: refusals, peeks, hits given back, one bucket twice."""
        buckets = self._buckets
        charges: dict[str, tuple[int, int]] = {}
        decided: list[tuple[bool, int]] = []
        refused = False
        for key, spec, cost, enforced in takes:
            tat = charges[key][0] if key in charges else buckets.get(key, 0)
            allowed, after = take(spec, tat, now_us, cost)
            if allowed:
                charges[key] = (after, spec.scale)
            else:
                refused = refused or enforced
            decided.append((allowed, after))
        if refused:
            return [
                outcome(spec, take(spec, buckets.get(key, 0), now_us, 0)[1], now_us, cost, allowed=allowed)
                for (key, spec, cost, _), (allowed, _after) in zip(takes, decided, strict=True)
            ]
        for key, (after, scale) in charges.items():
            if key in buckets:
                buckets[key] = after
            elif after > now_us * scale:
                self._add(key, after, scale)
        return [
            outcome(spec, after, now_us, cost, allowed=allowed)
            for (_, spec, cost, _), (allowed, after) in zip(takes, decided, strict=True)
        ]

    def _add(self, key: str, tat: int, scale: int) -> None:
        if len(self._buckets) >= self._max_buckets:
            self._evict()
        self._buckets[key] = tat
        self._file(key, tat, scale)

    def _file(self, key: str, tat: int, scale: int) -> None:
        slot = (tat // (scale * MICROSECONDS) + 1, scale)
        keys = self._slots.get(slot)
        if keys is None:
            self._slots[slot] = [key]
            heappush(self._order, slot)
        else:
            keys.append(key)

    def _next(self) -> tuple[str, _Slot]:
        """Take the next key out of the earliest slot."""
        slot = self._order[0]
        keys = self._slots[slot]
        key = keys.pop()
        if not keys:
            del self._slots[slot]
            heappop(self._order)
        return key, slot

    def _sweep(self, now_us: int) -> None:
        for _ in range(_SWEEP):
            if not self._order or self._order[0][0] * MICROSECONDS > now_us:
                return
            key, (_, scale) = self._next()
            tat = self._buckets[key]
            if tat <= now_us * scale:
                del self._buckets[key]
            else:
                self._file(key, tat, scale)

    def _evict(self) -> None:
        """Let the bucket go that is full soonest; of those used since they were filed, it looks at _SWEEP at most."""
        for _ in range(_SWEEP):
            key, (second, scale) = self._next()
            tat = self._buckets[key]
            if tat // (scale * MICROSECONDS) < second:
                break
            self._file(key, tat, scale)
        else:
            key, _slot = self._next()
        del self._buckets[key]
