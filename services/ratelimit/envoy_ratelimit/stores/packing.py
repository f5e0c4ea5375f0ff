"""What the token bucket script is given and what it answers, between takes and Redis."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from struct import Struct

from envoy_ratelimit.core.store import Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome, outcome, take

SCRIPT = files(__package__).joinpath("token_bucket.lua").read_bytes()
SCRIPT_ID = sha1(SCRIPT, usedforsecurity=False).hexdigest()
"""What EVALSHA calls it by."""

_TAKE = Struct("<6d")
_ENFORCED, _GIVES_BACK, _NEVER, _LAST = 1, 2, 4, 8
_FIELDS = 3


def pack(batch: Sequence[Sequence[Take]]) -> tuple[list[str], bytes]:
    """Return the script's KEYS and its one argument for *batch*."""
    keys: list[str] = []
    packed: list[bytes] = []
    for takes in batch:
        last = len(takes)
        for key, spec, cost, enforced in takes:
            last -= 1
            keys.append(key)
            packed.append(_packed(spec, cost, enforced, last == 0))
    return keys, b"".join(packed)


def unpack(batch: Sequence[Sequence[Take]], reply: Sequence[int]) -> list[list[Outcome]]:
    """Return the outcomes for *batch* that the script's reply means."""
    now_us = reply[0]
    at = 1
    results: list[list[Outcome]] = []
    for takes in batch:
        outcomes: list[Outcome] = []
        for _, spec, cost, _ in takes:
            tat = _brought_up(spec, reply[at + 1] * spec.scale + reply[at + 2], now_us)
            outcomes.append(outcome(spec, tat, now_us, cost, allowed=reply[at] == 1))
            at += _FIELDS
        results.append(outcomes)
    return results


def _brought_up(spec: BucketSpec, tat: int, now_us: int) -> int:
    """Return what a stored TAT means now: the script answers a bucket it did not charge as it found it."""
    return take(spec, tat, now_us, 0)[1]


@lru_cache(maxsize=65_536)
def _packed(spec: BucketSpec, cost: int, enforced: bool, last: bool) -> bytes:
    """Return one take as the script reads it. Costs are cut at the capacity, so that all numbers stay exact."""
    capacity, interval, scale, span = spec
    flags = (_ENFORCED if enforced else 0) | (_LAST if last else 0)
    if cost > capacity or capacity == 0:
        flags |= _NEVER
        cost = 0
    elif cost < 0:
        flags |= _GIVES_BACK
    moves = min(abs(cost), capacity) * interval
    return _TAKE.pack(flags, *divmod(moves, scale), scale, *divmod(max(span, 0), scale))
