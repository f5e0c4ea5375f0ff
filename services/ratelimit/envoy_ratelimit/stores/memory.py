"""Buckets in this process: exact for one worker, and bounded."""

import time
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from envoy_ratelimit.core import window_state
from envoy_ratelimit.core.algorithms import outcome, take
from envoy_ratelimit.core.fixed_window import FixedWindow
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec, Outcome

MAX_BUCKETS = 1_000_000
"""The cap of live buckets; around 300 bytes each with keys of usual length (see the test of the cap)."""
_SWEEP = 256
"""Buckets looked at per batch when some are due, so that no batch pays for the end of a busy minute alone."""

_Slot = tuple[int, int]
"""A second, and the scale of the states of the buckets that are due in it."""
_EPOCH_NS = time.time_ns() - time.monotonic_ns()


def monotonic_us() -> int:
    """Return microseconds since the Unix epoch that never go back: the wall clock at the start, and from there monotonic."""
    return (_EPOCH_NS + time.monotonic_ns()) // 1000


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
        for key, spec, cost, _mode in takes:
            state = buckets.get(key, 0)
            if type(spec) is BucketSpec:
                _capacity, interval, scale, span, _ceiling = spec
                now = now_us * scale
                after = cost * interval + (state if state > now else now)  # noqa: FURB136 - max() is slower
                room = now + span - after
                if room < 0 or cost < 1:
                    return self._take_with_care(takes, now_us)
                charges[key] = (after, scale)
                outcomes.append((True, room // interval, -((now - after) // scale)))
            elif type(spec) is FixedWindow:
                limit, period_us, _debt = spec
                end_us = now_us - now_us % period_us + period_us
                used = cost + (state & window_state.COUNT if state >> window_state.DUE >= end_us else 0)
                if used > limit or cost < 1:
                    return self._take_with_care(takes, now_us)
                charges[key] = (end_us << window_state.DUE | used, window_state.SCALE)
                outcomes.append((True, limit - used, end_us - now_us))
            else:
                return self._take_with_care(takes, now_us)
        if len(charges) < len(takes):
            return self._take_with_care(takes, now_us)
        for key, (after, scale) in charges.items():
            if key in buckets:
                buckets[key] = after
            else:
                self._add(key, after, scale)
        return outcomes

    def _take_with_care(self, takes: Sequence[Take], now_us: int) -> list[Outcome]:
        """Decide any request: windows, refusals, peeks, hits given back, one bucket twice."""
        buckets = self._buckets
        charges: dict[str, tuple[int, int]] = {}
        decided: list[tuple[bool, int]] = []
        refused = False
        quotas = quotas_over = 0
        for key, spec, cost, mode in takes:
            state = charges[key][0] if key in charges else buckets.get(key, 0)
            allowed, after = take(spec, state, now_us, cost)
            decided.append((allowed, after))
            if cost and (allowed or spec.debt):
                charges[key] = (after, spec.scale)
            if mode & QUOTA:
                quotas += 1
                quotas_over += not allowed
            elif not allowed and mode & ENFORCED:
                refused = True
        if refused or (quotas and quotas == quotas_over):
            kept = {key for key, _, _, mode in takes if mode & KEPT}
            charges = {key: charge for key, charge in charges.items() if key in kept}
            states = [charges[key][0] if key in charges else buckets.get(key, 0) for key, *_ in takes]
        else:
            states = [after for _, after in decided]
        self._charge(charges, now_us)
        return [
            outcome(spec, state, now_us, cost, allowed=allowed)
            for (_, spec, cost, _), (allowed, _), state in zip(takes, decided, states, strict=True)
        ]

    def _charge(self, charges: dict[str, tuple[int, int]], now_us: int) -> None:
        buckets = self._buckets
        for key, (after, scale) in charges.items():
            if key in buckets:
                buckets[key] = after
            elif after > now_us * scale:
                self._add(key, after, scale)

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
