"""Buckets in Redis or Valkey, shared by all processes that use it: one script call decides a batch in one place."""

from collections.abc import Iterable, Sequence
from time import monotonic

from envoy_ratelimit.core.algorithms import Spec
from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome
from envoy_ratelimit.stores.connection import ReplyError
from envoy_ratelimit.stores.lane import Lane, ScriptCall, script_call
from envoy_ratelimit.stores.packing import unpack
from envoy_ratelimit.stores.parts import Part, Split, fill
from envoy_ratelimit.stores.sites import Place, Site

MAX_ROUNDS = 3
"""What a batch may cost at most: a node that sends it on, one that has not the script, and the answer."""
_OF_A_CLUSTER = frozenset({"MOVED", "ASK", "CROSSSLOT"})
_SECOND_US = 1_000_000


class RedisStore:
    """The Redis store: connected when started or first used, and again, in the background, after a failure.

    All that a batch waits for, connecting the first time included, ends within *timeout_s*. With *per_second*, the
    buckets that are as new again within a second are in that site. What lies in one place of one site is decided by one script
    call, atomically; calls to several places go out together, and a request that one place refuses is given back what
    it took in the others.
    """

    def __init__(self, site: Site, *, timeout_s: float, per_second: Site | None = None) -> None:
        self._site = site
        self._per_second = per_second
        self._timeout_s = timeout_s
        self._only = site.only if per_second is None else None

    def start(self) -> None:
        """Begin to connect, so that the first batch need not."""
        for site in self._sites():
            site.start()

    def look(self) -> None:
        """See RemoteStore."""
        for site in self._sites():
            site.look()

    def why_down(self) -> str:
        """See RemoteStore."""
        return "; ".join(filter(None, (site.why_down() for site in self._sites())))

    def close(self) -> None:
        """Close the connections."""
        for site in self._sites():
            site.close()

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        """See BucketStore; the clock is the server's."""
        if not any(batch):
            return [[] for _ in batch]
        deadline_s = monotonic() + self._timeout_s
        if self._only is not None:
            lane, slot = self._only
            call = script_call(lane, batch, self._site.named)
            self._ask({(self._site, slot): call}, deadline_s)
            return unpack(batch, call.reply)
        return self._take_apart(batch, deadline_s)

    def _sites(self) -> Sequence[Site]:
        return (self._site,) if self._per_second is None else (self._site, self._per_second)

    def _take_apart(self, batch: Sequence[Sequence[Take]], deadline_s: float) -> list[list[Outcome]]:
        def place_of(take: Take) -> tuple[Site, Place]:
            site = self._site
            if self._per_second is not None and is_per_second(take[1]):
                site = self._per_second
            return site, site.place(take[0], deadline_s)

        split = Split(batch, place_of)
        results = split.merged(self._decided(split.parts, deadline_s))
        returning = split.give_back(results)
        if returning:
            for place, outcomes in self._decided(returning, deadline_s).items():
                fill(results, returning[place], outcomes)
        return results

    def _decided(
        self, parts: dict[tuple[Site, Place], Part], deadline_s: float
    ) -> dict[tuple[Site, Place], list[list[Outcome]]]:
        calls = {
            (site, place): script_call(place[0], part.takes, site.named)
            for (site, place), part in parts.items()
        }
        self._ask({(site, place[1]): call for (site, place), call in calls.items()}, deadline_s)
        return {where: unpack(parts[where].takes, call.reply) for where, call in calls.items()}

    def _ask(self, calls: dict[tuple[Site, int], ScriptCall], deadline_s: float) -> None:
        """Make all calls, again where the server says how. Raises StoreError if one of them has no answer."""
        pending = calls
        for _ in range(MAX_ROUNDS):
            by_lane = _grouped(pending.values())
            for lane, group in by_lane.items():
                lane.send(group, deadline_s)
            for lane, group in by_lane.items():
                lane.receive(group, deadline_s)
            pending = {where: call for where, call in pending.items() if _goes_on(where, call)}
            if not pending:
                break
        for (site, _), call in calls.items():
            if call.error is not None:
                raise StoreError(*call.error)
            if isinstance(call.reply, ReplyError):
                is_node = site.only is not None and call.reply.code in _OF_A_CLUSTER
                hint = "; it is a node of a cluster, whose URL begins with redis+cluster" if is_node else ""
                raise StoreError("response", f"{call.lane.name} refused: {call.reply}{hint}")


def is_per_second(spec: Spec) -> bool:
    """Tell whether a bucket lives for a second only: a token bucket that fills in one, or a window of one."""
    if isinstance(spec, BucketSpec):
        return spec.span <= _SECOND_US * spec.scale
    return spec.period_us <= _SECOND_US


def _grouped(calls: Iterable[ScriptCall]) -> dict[Lane, list[ScriptCall]]:
    groups: dict[Lane, list[ScriptCall]] = {}
    for call in calls:
        groups.setdefault(call.lane, []).append(call)
    return groups


def _goes_on(where: tuple[Site, int], call: ScriptCall) -> bool:
    """Tell whether *call* is to be made again, and change it so that it is another one."""
    error = call.reply
    if call.error is not None or not isinstance(error, ReplyError):
        return False
    site, slot = where
    call.asking = False
    if error.code == "NOSCRIPT":
        call.whole_script = True
        return True
    redirected = site.moved(slot, error)
    if redirected is None:
        return False
    call.lane, call.asking = redirected
    return True
