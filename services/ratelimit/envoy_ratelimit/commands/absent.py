"""Buckets that the store does not have: nobody used them, or the command and the services name them differently."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.source import LimitSource
from envoy_ratelimit.commands.states import State, peek
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.core.rule import Entry, Rate
from envoy_ratelimit.core.store import BucketStore

_OPTIONS = "--default-algorithm, --store, --store-per-second, --store-key-prefix or --store-spread"


class Absent(NamedTuple):
    """A descriptor whose bucket was not in the store; `why` says what that may mean.

    `misnamed` if there is one of another algorithm: that is most likely the one that was meant.
    """

    why: str
    misnamed: bool


def absent(
    source: LimitSource,
    store: BucketStore,
    descriptors: Sequence[tuple[Entry, ...]],
    states: Sequence[State | str],
    override: Rate | None = None,
) -> Iterator[Absent]:
    """Yield those of *descriptors* that had no bucket in the store when their *states* were looked at.

    A store forgets a bucket that is as new, so one that is full is not there.
    """
    missing = [
        entries
        for entries, state in zip(descriptors, states, strict=True)
        if isinstance(state, State) and state.is_full
    ]
    if not missing:
        return
    elsewhere = {
        entries: name
        for name, rules in source.by_other_algorithms()
        for entries, state in zip(
            descriptors, peek(Limiter(rules, store), source.domain, descriptors, override), strict=True
        )
        if isinstance(state, State) and state.capacity and not state.is_full
    }
    for entries in missing:
        name = elsewhere.get(entries)
        if name is None:
            meaning = f": nothing is taken from it, or `serve` has other limits, or another {_OPTIONS}"
        else:
            meaning = f", but one of {name}: is --default-algorithm {name} missing, as `serve` has it?"
        yield Absent(f"{written(entries)}: no such bucket was in the store{meaning}", name is not None)
