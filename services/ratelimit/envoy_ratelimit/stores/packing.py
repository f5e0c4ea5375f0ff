"""What the bucket script is given and what it answers, between takes and Redis."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from struct import Struct

from envoy_ratelimit.core import window_state
from envoy_ratelimit.core.algorithms import Spec, outcome
from envoy_ratelimit.core.fixed_window import FixedWindow
from envoy_ratelimit.core.sliding_window import SlidingWindow
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome

SCRIPT = files(__package__).joinpath("buckets.lua").read_bytes()
SCRIPT_ID = sha1(SCRIPT, usedforsecurity=False).hexdigest()
"""What EVALSHA calls it by."""

_TAKE = Struct("<6d")
_ENFORCED, _GIVES_BACK, _NEVER, _LAST, _QUOTA, _KEPT, _DEBT, _FIXED, _SLIDING, _PEEK = (
    1 << n for n in range(10)
)
_MODES = {ENFORCED: _ENFORCED, QUOTA: _QUOTA, KEPT: _KEPT}
_FIELDS = 3


def pack(batch: Sequence[Sequence[Take]]) -> tuple[list[str], bytes]:
    """Return the script's KEYS and its one argument for *batch*."""
    keys: list[str] = []
    packed: list[bytes] = []
    for takes in batch:
        last = len(takes)
        for key, spec, cost, mode in takes:
            last -= 1
            keys.append(key)
            packed.append(_packed(spec, cost, mode, last == 0))
    return keys, b"".join(packed)


def unpack(batch: Sequence[Sequence[Take]], reply: Sequence[int]) -> list[list[Outcome]]:
    """Return the outcomes for *batch* that the script's reply means."""
    now_us = reply[0]
    at = 1
    previous = iter(reply[1 + _FIELDS * sum(map(len, batch)) :])
    results: list[list[Outcome]] = []
    for takes in batch:
        outcomes: list[Outcome] = []
        for _, spec, cost, _ in takes:
            allowed, whole, part = reply[at] == 1, reply[at + 1], reply[at + 2]
            at += _FIELDS
            if isinstance(spec, BucketSpec):
                _capacity, interval, scale, span, _ceiling = spec
                ahead = (whole - now_us) * scale + part
                if allowed and 0 <= ahead <= span:
                    # The usual take; `outcome` is written out for speed.
                    outcomes.append((True, (span - ahead) // interval, -(-ahead // scale)))
                    continue
                state = whole * scale + part
            else:
                state = _window(spec, whole, part, previous)
            outcomes.append(outcome(spec, state, now_us, cost, allowed=allowed))
        results.append(outcomes)
    return results


def _window(spec: FixedWindow | SlidingWindow, start_us: int, used: int, previous: Iterator[int]) -> int:
    if isinstance(spec, FixedWindow):
        return window_state.join(start_us + spec.period_us, used)
    return window_state.join(start_us + 2 * spec.period_us, used, next(previous))


@lru_cache(maxsize=65_536, typed=True)
def _packed(spec: Spec, cost: int, mode: int, last: bool) -> bytes:
    """Return one take as the script reads it. Costs are cut at what a state can hold, so that all numbers stay exact."""
    flags = sum(flag for bit, flag in _MODES.items() if mode & bit)
    flags |= (_LAST if last else 0) | (_DEBT if spec.debt else 0)
    flags |= _GIVES_BACK if cost < 0 else _PEEK if cost == 0 else 0
    cost = abs(cost)
    if spec.capacity == 0:
        flags |= _NEVER
    if not isinstance(spec, BucketSpec):
        flags |= _FIXED if isinstance(spec, FixedWindow) else _SLIDING
        return _TAKE.pack(flags, min(cost, window_state.MAX_USED), spec.limit, spec.period_us, 0, 0)
    capacity, interval, scale, span, ceiling = spec
    if cost > capacity and not spec.debt and not flags & _GIVES_BACK:
        flags |= _NEVER
    moves = 0 if flags & _NEVER else min(cost * interval, span + ceiling)
    return _TAKE.pack(flags, *divmod(moves, scale), scale, *divmod(max(span, 0), scale))
