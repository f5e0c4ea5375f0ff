"""`get`, `reset` and `adjust`: the bucket of a descriptor, through the store that the services use."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.source import LimitSource, SharedStore
from envoy_ratelimit.core.limiter import Limiter, Status, Verdict
from envoy_ratelimit.core.rule import Entry
from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS
from envoy_sidecar.settings import SettingsError

_MAX_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class State:
    """What is in a bucket: `capacity` and `remaining` in hits; `full_in_s` until it is full, None if it never is."""

    rule: str
    limit: str
    capacity: int
    remaining: int
    full_in_s: float | None

    def __str__(self) -> str:
        wait = "" if self.full_in_s is None else f", full in {self.full_in_s:.3f} s"
        return f"bucket of {self.rule}: {self.remaining} of {self.capacity} left{wait}"


def peek(limiter: Limiter, domain: str, descriptors: Sequence[tuple[Entry, ...]]) -> list[State | None]:
    """Return what is in the buckets. Raises SettingsError if the store does not answer."""
    return [state_of(status) for status in move(limiter, domain, descriptors, 0)]


def move(
    limiter: Limiter, domain: str, descriptors: Sequence[tuple[Entry, ...]], cost: int
) -> Sequence[Status | None]:
    """Take *cost* from each bucket, or give back if it is negative; return the statuses. Raises SettingsError."""
    plan = limiter.plan(domain, [(entries, cost, None) for entries in descriptors])
    try:
        (answer,) = limiter.settle([plan])
    except StoreError as error:
        raise SettingsError(f"--store: {error}") from None
    return answer[1]


def state_of(status: Status | None) -> State | None:
    """Return what a status says of its bucket; None if it has none."""
    if status is None or status[0].bucket is None:
        return None
    rule, _, remaining, reset_us = status
    full_in_s = None if reset_us is None else reset_us / MICROSECONDS
    return State(rule.path, str(rule.rate), status[0].bucket.capacity, remaining, full_in_s)


def buckets(
    source: LimitSource,
    descriptors: Sequence[tuple[Entry, ...]],
    store: SharedStore,
    form: Format,
    *,
    cost: int = 0,
    reset: bool = False,
) -> int:
    """Print the buckets of *descriptors* after taking *cost* from each, or after filling them.

    Returns 1 if a descriptor has no bucket, or less is in it than *cost*.
    """
    domain = source.domain
    refused = False
    with store.limiter(source.load()) as limiter:
        if reset:
            _fill(limiter, domain, descriptors)
        elif cost:
            taken = move(limiter, domain, descriptors, cost)
            refused = any(status is not None and status[1] is Verdict.OVER_LIMIT for status in taken)
        states = peek(limiter, domain, descriptors)
    _show(descriptors, states, form)
    if refused:
        say(f"less than {cost} was left: nothing was taken")
    return EXIT_FINDINGS if refused or None in states else EXIT_CLEAN


def _fill(limiter: Limiter, domain: str, descriptors: Sequence[tuple[Entry, ...]]) -> None:
    """Give back until all are full: more than once where a bucket is in debt."""
    for _ in range(_MAX_ROUNDS):
        states = [state for state in peek(limiter, domain, descriptors) if state is not None]
        missing = max((state.capacity - state.remaining for state in states), default=0)
        if not missing:
            return
        move(limiter, domain, descriptors, -max(state.capacity for state in states))
    raise SettingsError("the buckets are used faster than they can be filled")


def _show(descriptors: Sequence[tuple[Entry, ...]], states: Sequence[State | None], form: Format) -> None:
    pairs = list(zip(descriptors, states, strict=True))
    if form == "json":
        print_json(
            [{"descriptor": written(entries), "bucket": state and asdict(state)} for entries, state in pairs]
        )
        return
    rows = [
        (written(entries), "no bucket: no limit applies, or it is unlimited", "", "", "")
        if state is None
        else (
            written(entries),
            state.rule,
            state.limit,
            f"{state.remaining} of {state.capacity}",
            "" if state.full_in_s is None else f"{state.full_in_s:.3f}",
        )
        for entries, state in pairs
    ]
    console().print(table("", ("descriptor", "rule", "limit", "left", "full in s"), rows))
