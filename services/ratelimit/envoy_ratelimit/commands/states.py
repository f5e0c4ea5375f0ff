"""What is in the buckets of descriptors, and why some have none; asked of the store that the services use."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envoy_ratelimit.core.limiter import Answer, Limiter, Plan, Status, Verdict
from envoy_ratelimit.core.rule import Entry, Rate, Rule
from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_sidecar.settings import SettingsError


@dataclass(frozen=True, slots=True)
class State:
    """What is in a bucket: `capacity` and `remaining` in hits; `full_in_s` until it is full, 0 if it is, None if it never is.

    One in debt says by `debt_s` how long it only pays that back, and not when it is full.
    """

    rule: str
    limit: str
    capacity: int
    remaining: int
    full_in_s: float | None
    debt_s: float | None = None

    @property
    def is_full(self) -> bool:
        """Whether it is as new; a ban is not."""
        return self.remaining == self.capacity > 0

    @property
    def left(self) -> str:
        """What is in it, in words."""
        return f"{self.remaining} of {self.capacity}"

    @property
    def wait(self) -> str:
        """How long until it is full, or has paid its debt, in words; empty if it never is."""
        if self.is_full:
            return "full"
        if self.debt_s is not None:
            return f"in debt for {self.debt_s:.3f} s"
        return "" if self.full_in_s is None else f"full in {self.full_in_s:.3f} s"

    def __str__(self) -> str:
        return f"bucket of {self.rule}: {self.left} left" + (f", {self.wait}" if self.wait else "")


def plan_for(
    limiter: Limiter,
    domain: str,
    descriptors: Sequence[tuple[Entry, ...]],
    cost: int,
    override: Rate | None = None,
) -> Plan:
    """Return what one request of these descriptors is to take; *override* is a limit that each brings along."""
    return limiter.plan(domain, [(entries, cost, override) for entries in descriptors])


def settle(limiter: Limiter, plans: Sequence[Plan]) -> Sequence[Answer]:
    """Do what was planned. Raises SettingsError if the store does not answer."""
    try:
        return limiter.settle(plans)
    except StoreError as error:
        raise SettingsError(f"--store: {error}") from None


def peek(
    limiter: Limiter, domain: str, descriptors: Sequence[tuple[Entry, ...]], override: Rate | None = None
) -> list[State | str]:
    """Return what is in the buckets of one request, or why there is none; see `plan_for`. Raises SettingsError."""
    plan = plan_for(limiter, domain, descriptors, 0, override)
    ((_, statuses),) = settle(limiter, [plan])
    return [_state(plan, status) for status in statuses]


def replacing(plan: Plan, rule: Rule | None) -> list[str]:
    """Return which limits of a request replace *rule*, which it has looked up; most often none."""
    if rule is None or not rule.dropped:
        return []
    return list(dict.fromkeys(other.path for other in _rules(plan) if rule.name in other.replaces))


def _rules(plan: Plan) -> Iterator[Rule]:
    return (rule for rule in plan.rules if rule is not None)


def _state(plan: Plan, status: Status | None) -> State | str:
    if status is None:
        return "no limit applies"
    rule, verdict, remaining, reset_us = status
    if rule.dropped:
        return f"replaced by {' and '.join(map(repr, replacing(plan, rule)))}"
    if rule.bucket is None:
        return "it is unlimited"
    reset_s = None if reset_us is None else reset_us / MICROSECONDS
    capacity = rule.bucket.capacity
    if remaining == capacity > 0:
        reset_s = 0.0  # of a window it is when that ends
    # A peek is refused by debt and by a ban alone.
    in_debt = verdict is not Verdict.OK and capacity > 0
    full_in_s, debt_s = (None, reset_s) if in_debt else (reset_s, None)
    return State(rule.path, str(rule.rate), capacity, remaining, full_in_s, debt_s)
