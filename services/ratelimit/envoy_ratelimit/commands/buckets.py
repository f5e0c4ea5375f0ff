"""`get`, `reset` and `adjust`: the bucket of a descriptor, through the store that the services use."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from envoy_ratelimit.commands.absent import absent
from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.source import LimitSource, SharedStore
from envoy_ratelimit.commands.states import State, peek, plan_for, settle
from envoy_ratelimit.core.limiter import Answer, Limiter, Plan, Verdict
from envoy_ratelimit.core.rule import Entry, Rate
from envoy_ratelimit.core.store import KEPT
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS

_EVERYTHING = 2**128
"""More than any bucket can have given away, at any rate; stores cut it at that."""


def buckets(
    source: LimitSource,
    descriptors: Sequence[tuple[Entry, ...]],
    store: SharedStore,
    form: Format,
    *,
    cost: int = 0,
    reset: bool = False,
    override: Rate | None = None,
) -> int:
    """Print the buckets of *descriptors* after taking *cost* from each, or after filling them.

    *override* is a limit that requests bring along, with buckets of its own.
    Returns 1 if a descriptor has no bucket, or what was asked was not done to it, or was done to a bucket that services
    name otherwise; why is said on stderr.
    """
    domain = source.domain
    rules = source.load()
    if not source.is_in(rules):
        return EXIT_FINDINGS
    with store.open() as opened:
        limiter = Limiter(rules, opened)
        states = peek(limiter, domain, descriptors, override)
        missing = list(absent(source, opened, descriptors, states, override))
        undone = any(each.misnamed for each in missing)
        for each in missing:
            say(each.why)
        if reset:
            _fill(limiter, plan_for(limiter, domain, descriptors, -_EVERYTHING, override))
        elif cost:
            plan = plan_for(limiter, domain, descriptors, cost, override)
            (answer,) = settle(limiter, [plan])
            for entries, done, why in _shortfalls(descriptors, answer, cost):
                undone = undone or not done
                say(f"{written(entries)}: {why}")
        if reset or cost:
            states = peek(limiter, domain, descriptors, override)
    _show(descriptors, states, form)
    found = all(isinstance(state, State) for state in states)
    return EXIT_CLEAN if found and not undone else EXIT_FINDINGS


def _fill(limiter: Limiter, plan: Plan) -> None:
    """Give back all that the buckets lack, whatever they owe.

    Each in a request of its own, for a ban would refuse the others. And twice, for a sliding window has two counts, and
    what is given back at once is cut at the most that one of them can be.
    """
    limits = [rule for rule in plan.rules if rule is not None and rule.bucket is not None]
    each = [Plan(plan.domain, [rule], [take]) for rule, take in zip(limits, plan.takes, strict=True)]
    settle(limiter, each * 2)


def _shortfalls(
    descriptors: Sequence[tuple[Entry, ...]], answer: Answer, cost: int
) -> Iterator[tuple[tuple[Entry, ...], bool, str]]:
    """Yield (descriptor, whether it was done all the same, what is to be said) for those that lacked something."""
    refused, statuses = answer
    nothing = "nothing was taken" if cost > 0 else "nothing was put in"
    for entries, status in zip(descriptors, statuses, strict=True):
        if status is None:
            continue
        rule, verdict, _, _ = status
        bucket = rule.bucket
        if bucket is None:
            continue
        if verdict is Verdict.OK:
            if refused and not rule.mode & KEPT:
                yield entries, False, f"{nothing}, for another one refused"
        elif bucket.capacity == 0:
            yield entries, False, f"it is a ban: {nothing}"
        elif bucket.debt:
            yield entries, True, f"less than {cost} was left: all of it was taken, and the rest is a debt"
        else:
            yield entries, False, f"less than {cost} was left: {nothing}"


def _show(descriptors: Sequence[tuple[Entry, ...]], states: Sequence[State | str], form: Format) -> None:
    pairs = list(zip(descriptors, states, strict=True))
    if form == "json":
        print_json([{"descriptor": written(entries), **_data(state)} for entries, state in pairs])
        return
    rows = [
        (written(entries), f"no bucket: {state}", "", "", "")
        if isinstance(state, str)
        else (written(entries), state.rule, state.limit, state.left, state.wait)
        for entries, state in pairs
    ]
    console().print(table("", ("descriptor", "rule", "limit", "left", ""), rows))


def _data(state: State | str) -> dict[str, object]:
    return {"bucket": None, "why": state} if isinstance(state, str) else {"bucket": asdict(state)}
