"""Decides requests: look up the rules, ask the store once for the whole batch, conclude."""

from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import NamedTuple

from envoy_ratelimit.core.matching import match
from envoy_ratelimit.core.rule import Entries, Rate, Rule, shortened
from envoy_ratelimit.core.rules import Rules, key_prefix, measured
from envoy_ratelimit.core.store import BucketStore, StoreError, Take
from envoy_ratelimit.core.token_bucket import Outcome

Hits = tuple[Entries, int | None, Rate | None]
"""One descriptor of a request: (entries, its own cost or None for the request's, a limit that overrides the rules').

An own cost of 0 peeks, a negative one gives hits back.
"""
Request = tuple[str, Sequence[Hits], int]
"""(domain, descriptors, cost); a cost of 0 here means 1."""
UNLIMITED_REMAINING = 2**32 - 1
OVERRIDE = "override"


class Verdict(IntEnum):
    """What became of one descriptor that has a rule."""

    OK = 0
    OVER_LIMIT = 1
    SHADOWED = 2
    """Over its limit, but in shadow mode: the request passes."""
    UNLIMITED = 3
    FAILED_OPEN = 4
    FAILED_CLOSED = 5


class FailurePolicy(StrEnum):
    """What a request gets that the store could not decide."""

    ALLOW = "allow"
    DENY = "deny"


Status = tuple[Rule, Verdict, int, int | None]
"""(rule, verdict, remaining, reset in µs), see Outcome; plain tuples, for there are two or more in every answer."""
Answer = tuple[bool, list[Status | None]]
"""(whether the request is over a limit, a status for each descriptor in order: None where no rule matches)."""


class Plan(NamedTuple):
    """What a request comes to under one configuration: a rule for each descriptor, and what to take for them."""

    domain: str
    """The domain if it is configured, else empty."""
    rules: Sequence[Rule | None]
    takes: Sequence[Take]


_OK, _OVER, _SHADOWED, _UNLIMITED = Verdict.OK, Verdict.OVER_LIMIT, Verdict.SHADOWED, Verdict.UNLIMITED


class Limiter:
    """Decides under one configuration, on one store; every limit that it cannot decide gets *on_failure*."""

    __slots__ = ("_domains", "_failed", "_store")

    def __init__(
        self, rules: Rules, store: BucketStore, *, on_failure: FailurePolicy = FailurePolicy.ALLOW
    ) -> None:
        self._domains = rules.domains
        self._store = store
        self._failed = Verdict.FAILED_OPEN if on_failure is FailurePolicy.ALLOW else Verdict.FAILED_CLOSED

    def decide(self, requests: Iterable[Request]) -> list[Answer]:
        """Decide a batch, with at most one call of the store, and without it when it fails."""
        plans = [self.plan(*request) for request in requests]
        try:
            return self.settle(plans)
        except StoreError:
            return self.fail(plans)

    def plan(self, domain: str, descriptors: Sequence[Hits], hits: int = 0) -> Plan:
        """Look up what a request is to take; without side effects."""
        root = self._domains.get(domain)
        if root is None:
            return Plan("", (None,) * len(descriptors), ())
        rules: list[Rule | None] = []
        takes: list[Take] = []
        for entries, own_hits, override in descriptors:
            rule = match(root, entries) if override is None else _override(domain, override)
            rules.append(rule)
            if rule is None:
                continue
            bucket = rule.bucket
            if bucket is None:
                continue
            cost = own_hits if own_hits is not None else hits or 1
            take = rule.single_take
            if override is not None:
                takes.append((_override_key(rule, entries), bucket, cost, True))
            elif take is None:
                takes.append((rule.bucket_key(entries), bucket, cost, not rule.shadow_mode))
            elif cost == 1:
                takes.append(take)
            else:
                takes.append((take[0], bucket, cost, take[3]))
        return Plan(domain, rules, takes)

    def settle(self, plans: Sequence[Plan]) -> list[Answer]:
        """Decide what was planned, with at most one call of the store. Raises StoreError; then `fail` is the answer."""
        batch = [plan.takes for plan in plans if plan.takes]
        each = iter(self._store.take(batch) if batch else ())
        return [_conclude(plan, next(each) if plan.takes else ()) for plan in plans]

    def fail(self, plans: Sequence[Plan]) -> list[Answer]:
        """Answer without the store: what the failure policy says, except for bans and what has no limit."""
        return [_conclude(plan, (), self._failed) for plan in plans]


def _conclude(plan: Plan, outcomes: Sequence[Outcome], failed: Verdict | None = None) -> Answer:
    over = False
    statuses: list[Status | None] = []
    each = iter(outcomes)
    for rule in plan.rules:
        if rule is None:
            statuses.append(None)
            continue
        bucket = rule.bucket
        if bucket is None:
            statuses.append((rule, _UNLIMITED, UNLIMITED_REMAINING, 0))
        elif failed is None:
            allowed, remaining, reset_us = next(each)
            if allowed:
                statuses.append((rule, _OK, remaining, reset_us))
            elif rule.shadow_mode:
                statuses.append((rule, _SHADOWED, remaining, reset_us))
            else:
                over = True
                statuses.append((rule, _OVER, remaining, reset_us))
        elif rule.shadow_mode:
            statuses.append((rule, Verdict.FAILED_OPEN, 0, None))
        else:
            verdict = _OVER if bucket.capacity == 0 else failed
            over = over or verdict is not Verdict.FAILED_OPEN
            statuses.append((rule, verdict, 0, None))
    return over, statuses


@lru_cache(maxsize=1024)
def _override(domain: str, rate: Rate) -> Rule:
    return Rule(domain, OVERRIDE, rate, key_prefix=key_prefix(domain, rate, "!"))


def _override_key(rule: Rule, entries: Entries) -> str:
    """Name the bucket of an override: no rule fixes the keys, so they are part of it as well as the values."""
    return shortened(rule.key_prefix + "".join(measured(key) + measured(value) for key, value in entries))
