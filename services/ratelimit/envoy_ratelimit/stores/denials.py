"""Refuses without asking what the store would refuse: buckets that are known to be empty until a time."""

from collections.abc import Callable, Sequence
from time import monotonic_ns
from typing import NamedTuple, Protocol, runtime_checkable

from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, BucketStore, Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome
from envoy_sidecar.telemetry.tally import Tally

MAX_BUCKETS = 10_000
_DRIFT = 1000
"""A clock may run this much of a time faster or slower than the server's: a thousandth."""


@runtime_checkable
class RemoteStore(BucketStore, Protocol):
    """A store that has somebody to connect to."""

    def start(self) -> None:
        """Begin to connect, so that the first batch need not wait for it."""

    def look(self) -> None:
        """Connect again, in the background, to servers that closed their connection while nobody asked.

        To be called now and then, on the thread that asks.
        """

    def why_down(self) -> str:
        """Say why a server of it cannot be asked now; empty if none is known to be away. From any thread."""


class _Seen(NamedTuple):
    """What a bucket was like when a batch went out that the store decided later."""

    spec: object
    cost: int
    outcome: Outcome
    sent_us: int
    tat: int
    """On this process's clock and never too late, so that a refusal by it is one; only of a token bucket."""


class DenialCache:
    """A store that remembers, for at most *max_age_us*, which buckets refused, and what else their requests took.

    A request is refused here if one of its enforced takes (or all its quotas) must be refused still and every other
    bucket of it is known as well. Nothing but time and hits given back can fill a bucket, so such a refusal is the
    store's own, except for hits that another process gave back within *max_age_us*. Buckets that take on debt, and
    takes that are charged whatever becomes of their request, always go to the store. At most *max_buckets* are
    remembered. *clock* gives microseconds that never go back.
    """

    def __init__(
        self,
        store: RemoteStore,
        *,
        max_age_us: int,
        max_buckets: int = MAX_BUCKETS,
        clock: Callable[[], int] = lambda: monotonic_ns() // 1000,
    ) -> None:
        self.store = store
        self.refused = Tally(
            "ratelimit.remembered_denials", "Requests refused without asking the store, which would have"
        )
        self._max_age_us = max_age_us
        self._max_buckets = max_buckets
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def start(self) -> None:
        """Begin to connect."""
        self.store.start()

    def look(self) -> None:
        """See RemoteStore."""
        self.store.look()

    def why_down(self) -> str:
        """See RemoteStore."""
        return self.store.why_down()

    def forget(self) -> None:
        """Ask the store about every bucket again; may be called from any thread."""
        self._seen = {}

    def close(self) -> None:
        """Close the store."""
        self.forget()
        self.store.close()

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[Outcome]]:
        """See BucketStore."""
        seen = self._seen
        sent_us = self._clock()
        if not seen:
            outcomes = self.store.take(batch)
            self._learn(seen, batch, outcomes, sent_us)
            return outcomes
        results: list[Sequence[Outcome]] = [()] * len(batch)
        asked: list[Sequence[Take]] = []
        places: list[int] = []
        for place, takes in enumerate(batch):
            refusal = self._refusal(seen, takes, sent_us)
            if refusal is None:
                asked.append(takes)
                places.append(place)
            else:
                results[place] = refusal
        if len(asked) < len(batch):
            self.refused.add(amount=len(batch) - len(asked))
        if asked:
            outcomes = self.store.take(asked)
            self._learn(seen, asked, outcomes, sent_us)
            for place, outcome in zip(places, outcomes, strict=True):
                results[place] = outcome
        return results

    def _refusal(self, seen: dict[str, _Seen], takes: Sequence[Take], now_us: int) -> list[Outcome] | None:
        """Return the outcomes of a request that the store would refuse, or None if that is not certain."""
        outcomes: list[Outcome] = []
        refused = False
        for key, spec, cost, mode in takes:
            if cost < 0:
                # Even if the store should fail now: it may give the hits back all the same.
                seen.pop(key, None)
                continue
            known = seen.get(key)
            if known is not None and known[0] == spec and not mode & KEPT:
                outcome = self._still(known, cost, now_us)
                if outcome is not None:
                    outcomes.append(outcome)
                    refused = refused or not outcome[0]
        if not refused or len(outcomes) < len(takes) or not _refused(takes, outcomes) or not _distinct(takes):
            return None
        return outcomes

    def _still(self, known: _Seen, cost: int, now_us: int) -> Outcome | None:
        """Return what the store would say now of *cost*, or None if that is not known."""
        spec, known_cost, known_outcome, sent_us, tat = known
        age_us = now_us - sent_us
        if age_us > self._max_age_us:
            return None
        allowed, remaining, reset_us = known_outcome
        if reset_us is None:
            return known_outcome  # a ban
        age_us += age_us // _DRIFT
        if isinstance(spec, BucketSpec):
            # `take` and `outcome` of the token bucket, written out for speed; one with debt is not remembered.
            capacity, interval, scale, span, _ = spec
            now = (sent_us + age_us) * scale
            tat = tat if tat > now else now  # noqa: FURB136 - max() is slower
            remaining = (now + span - tat) // interval
            room = now + span - tat - cost * interval
            if room >= 0:
                return True, remaining, -((now - tat) // scale)
            return False, remaining, -(room // scale) if cost <= capacity else None
        if cost != known_cost or age_us >= reset_us:
            return None
        return allowed, remaining, reset_us - age_us

    def _learn(
        self,
        seen: dict[str, _Seen],
        batch: Sequence[Sequence[Take]],
        results: Sequence[Sequence[Outcome]],
        sent_us: int,
    ) -> None:
        """Note, in the order of the batch, what buckets are like after requests that were refused."""
        for takes, outcomes in zip(batch, results, strict=True):
            refused = False
            for take, outcome in zip(takes, outcomes, strict=True):
                if not outcome[0]:
                    refused = True
                elif seen and take[0] in seen:
                    # Charged or filled meanwhile.
                    del seen[take[0]]
            if refused and _refused(takes, outcomes) and _distinct(takes):
                for take, outcome in zip(takes, outcomes, strict=True):
                    self._note(seen, take, outcome, sent_us)

    def _note(self, seen: dict[str, _Seen], take: Take, outcome: Outcome, sent_us: int) -> None:
        key, spec, cost, mode = take
        seen.pop(key, None)
        if cost < 0 or mode & KEPT or spec.debt:
            return
        if outcome[2] is None and spec.capacity:
            # A cost above what the bucket can hold: that says too little of what is in it.
            return
        while len(seen) >= self._max_buckets:
            # The oldest: a dict keeps the order in which its keys came.
            del seen[next(iter(seen))]
        tat = _tat(spec, cost, outcome, sent_us) if isinstance(spec, BucketSpec) else 0
        seen[key] = _Seen(spec, cost, outcome, sent_us, tat)


def _tat(spec: BucketSpec, cost: int, outcome: Outcome, sent_us: int) -> int:
    """Return the earliest TAT that *outcome* can mean, on the clock of *sent_us*."""
    allowed, _, reset_us = outcome
    now = sent_us * spec.scale
    if reset_us is None:
        return now  # a ban
    earliest = now + reset_us * spec.scale - (spec.scale - 1 if reset_us else 0)
    return earliest if allowed else earliest + spec.span - cost * spec.interval


def _refused(takes: Sequence[Take], outcomes: Sequence[Outcome]) -> bool:
    """Tell whether a request is refused, as the store decides it."""
    quotas = quotas_refused = 0
    for take, outcome in zip(takes, outcomes, strict=True):
        mode = take[3]
        if not outcome[0] and mode & ENFORCED:
            return True
        if mode & QUOTA:
            quotas += 1
            quotas_refused += not outcome[0]
    return quotas > 0 and quotas == quotas_refused


def _distinct(takes: Sequence[Take]) -> bool:
    """Tell whether no two takes are of one bucket: those see each other's charges, which only the store knows."""
    return len(takes) == 1 or len({take[0] for take in takes}) == len(takes)
