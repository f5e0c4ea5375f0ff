"""What watches the decisions: metrics beside each, and the rest later, from a bounded queue."""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from envoy_ratelimit.core.limiter import Answer, Plan, Verdict
from envoy_ratelimit.observe.decision_log import DecisionLog
from envoy_ratelimit.observe.metrics import RuleMetrics
from envoy_ratelimit.observe.naming import KeyStyle, shown_key
from envoy_ratelimit.observe.sketch import SpaceSaving
from envoy_sidecar.telemetry.tally import Tally

QUEUE = 1024
INTERVAL_S = 0.25
HALF_LIFE_S = 60.0
SKETCH_KEYS = 1000
_CHUNK = 32
_PAUSE_S = 0.001
_REFUSED = frozenset({Verdict.OVER_LIMIT, Verdict.FAILED_CLOSED})


class _BucketName(NamedTuple):
    """A bucket and what names it for people; without its Rule, which would outlive its configuration here."""

    domain: str
    rule: str
    key_prefix: str
    key: str


class Top(NamedTuple):
    """One of the heaviest keys: hits is an estimate that is at most `error` too high."""

    domain: str
    rule: str
    key: str
    hits: int
    error: int


Tops = dict[str, list[Top]]
"""The heaviest keys of each of TOPS, heaviest first."""
TOPS = ("hottest", "denied", "shadowed")


def summed(tops: Iterable[Top], most: int) -> list[Top]:
    """Return the heaviest keys, with what comes several times added up."""
    found: dict[tuple[str, str, str], tuple[int, int]] = {}
    for domain, rule, key, hits, error in tops:
        before, error_before = found.get((domain, rule, key), (0, 0))
        found[domain, rule, key] = (before + hits, error_before + error)
    added = [Top(*name, hits, error) for name, (hits, error) in found.items()]
    return sorted(added, key=lambda top: -top.hits)[:most]


class Observer:
    """Sees each decision on the dispatcher's thread (`observe`), and digests them on the event loop (`run`).

    Only the metrics are exact. Of each INTERVAL_S about QUEUE requests are kept to be digested: all of them, or one in
    so many that each stands for, for what is kept costs the hot path the most. Counts of `top` halve each HALF_LIFE_S.
    """

    def __init__(
        self, metrics: RuleMetrics, log: DecisionLog, *, keys: KeyStyle = "plain", salt: str = ""
    ) -> None:
        self._metrics = metrics
        self._count = metrics.count
        self._log = log
        self._keys = keys
        self._salt = salt
        self._queue: deque[tuple[Plan, Answer]] = deque(maxlen=QUEUE)
        self._stride = 1
        self._until_kept = 1
        self._seen = 0
        self._hottest: SpaceSaving[_BucketName] = SpaceSaving(SKETCH_KEYS)
        self._denied: SpaceSaving[_BucketName] = SpaceSaving(SKETCH_KEYS)
        self._shadowed: SpaceSaving[_BucketName] = SpaceSaving(SKETCH_KEYS)

    @property
    def metrics(self) -> RuleMetrics:
        """The hits by rule."""
        return self._metrics

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What it counts, for the metrics export."""
        return self._metrics.tallies

    def observe(self, plan: Plan, answer: Answer) -> None:
        """See one request and what was decided of it; called on the hot path."""
        self._count(plan, answer)
        if plan.takes:
            self._until_kept -= 1
            if not self._until_kept:
                self._until_kept = self._stride
                self._seen += self._stride
                self._queue.append((plan, answer))

    async def run(self) -> None:
        """Digest what was seen, every INTERVAL_S, for ever."""
        passed_s = 0.0
        while True:
            await asyncio.sleep(INTERVAL_S)
            await self.digest()
            passed_s += INTERVAL_S
            if passed_s >= HALF_LIFE_S:
                passed_s = 0.0
                self._hottest.halve()
                self._denied.halve()
                self._shadowed.halve()

    async def digest(self) -> None:
        """Digest what is in the queue now; in small pieces, for the hot path needs the interpreter too."""
        queue = self._queue
        waiting = len(queue)
        # The dispatcher may add to it meanwhile; what that loses is some weight of an estimate.
        seen, self._seen = self._seen, 0
        weight = max(1, round(seen / waiting)) if waiting else 1
        # Odd, so as not to be in step with requests that come in pairs.
        self._stride = max(seen // QUEUE, 1) | 1
        for place in range(waiting):
            if place % _CHUNK == 0:
                # For real: one that gives up the interpreter only to take it again keeps it from who waits for it.
                await asyncio.sleep(_PAUSE_S)
            if not queue:
                break
            plan, answer = queue.popleft()
            self._digest_one(plan, answer, weight)

    def _digest_one(self, plan: Plan, answer: Answer, weight: int) -> None:
        takes = iter(plan.takes)
        limited = False
        for status in answer[1]:
            if status is None or status[0].bucket is None:
                continue
            rule, verdict, _, _ = status
            key, _, cost, _ = next(takes)
            if cost < 1:
                continue
            name = _BucketName(rule.domain, rule.path, rule.key_prefix, key)
            self._hottest.add(name, cost * weight)
            if verdict in _REFUSED:
                limited = True
                self._denied.add(name, cost * weight)
            elif verdict is Verdict.SHADOWED:
                limited = True
                self._shadowed.add(name, cost * weight)
        if limited:
            self._log.see(plan, answer)

    def top(self, most: int) -> Tops:
        """Return the keys with the most hits, with the most refused, and with the most that only shadow mode let pass."""
        sketches = (self._hottest, self._denied, self._shadowed)
        return {which: summed(self._named(one), most) for which, one in zip(TOPS, sketches, strict=True)}

    def _named(self, sketch: SpaceSaving[_BucketName]) -> Iterator[Top]:
        """Name the heaviest; the buckets of a rule before and after its limit changed have one name."""
        for bucket, weight, error in sketch.heaviest(SKETCH_KEYS):
            shown = shown_key(bucket.key_prefix, bucket.key, self._keys, self._salt)
            yield Top(bucket.domain, bucket.rule, shown, weight, error)
