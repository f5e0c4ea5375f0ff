"""Decides requests: look up the rules, ask the store once for the whole batch, conclude."""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.matching import match
from envoy_ratelimit.core.rule import Charge, Entries, FailurePolicy, Rate, Rule, shortened
from envoy_ratelimit.core.rules import Rules, key_prefix, measured
from envoy_ratelimit.core.store import ENFORCED, QUOTA, BucketStore, StoreError, Take
from envoy_ratelimit.core.token_bucket import Outcome

__all__ = ["Answer", "FailurePolicy", "Hits", "Limiter", "Plan", "Request", "Status", "Verdict"]

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
    """Over its limit, but in shadow mode: the request passes.

    The status says OK, or OVER_LIMIT where the whole service is in shadow mode.
    """
    OVER_QUOTA = 3
    """Over its limit, but in quota mode, and another quota of the request is not: the request passes."""
    UNLIMITED = 4
    FAILED_OPEN = 5
    FAILED_CLOSED = 6
    REPLACED = 7
    """Not looked at: another limit that matches the request replaces it."""


Status = tuple[Rule, Verdict, int, int | None]
"""(rule, verdict, remaining, reset in µs), see Outcome; plain tuples, for there are two or more in every answer."""
Answer = tuple[bool, list[Status | None]]
"""(whether the request is over a limit, a status for each descriptor in order: None where no rule matches)."""


class Plan(NamedTuple):
    """What a request comes to under one configuration: a rule for each descriptor, and what to take for them.

    There is a take for each rule with a bucket, in their order.
    """

    domain: str
    """The domain if it is configured, else empty."""
    rules: Sequence[Rule | None]
    takes: Sequence[Take]
    descriptors: Sequence[Hits] = ()
    hits: int = 0
    unknown_domain: str = ""
    """What was asked for instead, if `domain` is empty."""


_OK, _OVER, _SHADOWED, _UNLIMITED = Verdict.OK, Verdict.OVER_LIMIT, Verdict.SHADOWED, Verdict.UNLIMITED
_UNDECIDED = {
    _OK: Verdict.FAILED_OPEN,
    _OVER: Verdict.FAILED_CLOSED,
    _SHADOWED: Verdict.FAILED_OPEN,
    Verdict.OVER_QUOTA: Verdict.OVER_QUOTA,
}
"""What a verdict is called that a failure policy made."""


class Limiter:
    """Decides under one configuration, on one store.

    A limit that it cannot decide gets its rule's failure policy, or *on_failure* if the rule has none. *local* is what
    decides for those with the policy LOCAL; without it they pass.
    """

    __slots__ = ("_defaults", "_domains", "_local", "_on_failure", "_replacing", "_store")

    def __init__(
        self,
        rules: Rules,
        store: BucketStore,
        *,
        on_failure: FailurePolicy = FailurePolicy.ALLOW,
        local: LocalShare | None = None,
    ) -> None:
        self._domains = rules.domains
        self._defaults = rules.defaults
        self._replacing = rules.replacing
        self._store = store
        self._on_failure = on_failure
        self._local = local

    def decide(self, requests: Iterable[Request]) -> list[Answer]:
        """Decide a batch, with at most one call of the store, and without it when it fails."""
        plans = [self.plan(*request) for request in requests]
        try:
            return self.settle(plans)
        except StoreError:
            return [self.fail(plan) for plan in plans]

    def plan(self, domain: str, descriptors: Sequence[Hits], hits: int = 0) -> Plan:
        """Look up what a request is to take; without side effects."""
        root = self._domains.get(domain)
        if root is None:
            return Plan("", (None,) * len(descriptors), (), descriptors, hits, domain)
        rules: list[Rule | None] = []
        takes: list[Take] = []
        for entries, own_hits, override in descriptors:
            rule = match(root, entries) if override is None else self._override(domain, override)
            rules.append(rule)
            if rule is None:
                continue
            bucket = rule.bucket
            if bucket is None:
                continue
            cost = own_hits if own_hits is not None else hits or 1
            take = rule.single_take
            if override is not None:
                takes.append((_override_key(rule, entries), bucket, cost, rule.mode))
            elif take is None:
                takes.append((rule.bucket_key(entries), bucket, cost, rule.mode))
            elif cost == 1:
                takes.append(take)
            else:
                takes.append((take[0], bucket, cost, take[3]))
        plan = Plan(domain, rules, takes, descriptors, hits)
        return _without_replaced(plan) if self._replacing and domain in self._replacing else plan

    def settle(self, plans: Sequence[Plan]) -> list[Answer]:
        """Decide what was planned, with at most one call of the store. Raises StoreError; then `fail` is the answer."""
        batch = [plan.takes for plan in plans if plan.takes]
        each = iter(self._store.take(batch) if batch else ())
        return [_conclude(plan, next(each) if plan.takes else ()) for plan in plans]

    def fail(self, plan: Plan) -> Answer:
        """Answer a request without the store: by the failure policies, except for bans and what has no limit.

        What no bucket decided counts as over its limit, or its quota, if its policy is DENY.
        """
        rules = [rule for rule in plan.rules if rule is not None and rule.bucket is not None]
        outcomes: list[Outcome] = []
        undecided: set[Rule] = set()
        local: dict[int, Take] = {}
        for place, (rule, take) in enumerate(zip(rules, plan.takes, strict=True)):
            policy = rule.on_failure or self._on_failure
            allowed = False
            if rule.bucket is not None and rule.bucket.capacity == 0:
                pass  # a ban: nothing needs to be asked
            elif policy is FailurePolicy.LOCAL and self._local is not None:
                local[place] = self._local.part_of(rule, take)
            else:
                undecided.add(rule)
                allowed = policy is not FailurePolicy.DENY
            outcomes.append((allowed, 0, None))
        if local and self._local is not None:
            others = [
                (rule.mode, outcomes[place][0]) for place, rule in enumerate(rules) if place not in local
            ]
            for place, outcome in zip(local, self._local.take([*local.values()], others), strict=True):
                outcomes[place] = outcome
        over, statuses = _conclude_with_care(plan, outcomes)
        return over, [
            (status[0], _UNDECIDED[status[1]], 0, None) if status and status[0] in undecided else status
            for status in statuses
        ]

    def _override(self, domain: str, rate: Rate) -> Rule:
        defaults = self._defaults
        return _override(domain, rate, defaults.algorithm, defaults.charge_of(), defaults.shadow_mode)


def _conclude(plan: Plan, outcomes: Sequence[Outcome]) -> Answer:
    if len(outcomes) == len(plan.rules):
        # The usual request: each descriptor has a bucket, and each bucket has room.
        passed: list[Status | None] = []
        for rule, (allowed, remaining, reset_us) in zip(plan.rules, outcomes, strict=True):
            if not allowed or rule is None:
                break
            passed.append((rule, _OK, remaining, reset_us))
        else:
            return False, passed
    return _conclude_with_care(plan, outcomes)


def _conclude_with_care(plan: Plan, outcomes: Sequence[Outcome]) -> Answer:
    over = False
    over_quota = False
    statuses: list[Status | None] = []
    each = iter(outcomes)
    for rule in plan.rules:
        if rule is None:
            statuses.append(None)
            continue
        if rule.bucket is None:
            statuses.append(_without_bucket(rule))
            continue
        allowed, remaining, reset_us = next(each)
        if allowed:
            statuses.append((rule, _OK, remaining, reset_us))
        elif rule.mode & ENFORCED:
            over = True
            statuses.append((rule, _OVER, remaining, reset_us))
        elif rule.mode & QUOTA:
            over_quota = True
            statuses.append((rule, Verdict.OVER_QUOTA, remaining, reset_us))
        else:
            statuses.append((rule, _SHADOWED, remaining, reset_us))
    if over_quota and all(
        status is None or not status[0].mode & QUOTA or status[1] is not _OK for status in statuses
    ):
        over = True
        statuses = [
            (status[0], _OVER, *status[2:]) if status and status[1] is Verdict.OVER_QUOTA else status
            for status in statuses
        ]
    return over, statuses


def _without_bucket(rule: Rule | None) -> Status | None:
    if rule is None:
        return None
    return (rule, Verdict.REPLACED, 0, None) if rule.dropped else (rule, _UNLIMITED, UNLIMITED_REMAINING, 0)


def _without_replaced(plan: Plan) -> Plan:
    """Drop the limits that another limit of the request replaces, as if they had not matched."""
    names: set[str] = set()
    for rule in plan.rules:
        if rule is not None:
            names |= rule.replaces
    if not names:
        return plan
    rules: list[Rule | None] = []
    takes: list[Take] = []
    each = iter(plan.takes)
    for rule in plan.rules:
        if rule is None or rule.bucket is None:
            rules.append(rule)
            continue
        take = next(each)
        if rule.replaced is not None and rule.name in names:
            rules.append(rule.replaced)
        else:
            rules.append(rule)
            takes.append(take)
    return plan._replace(rules=rules, takes=takes)


@lru_cache(maxsize=1024)
def _override(domain: str, rate: Rate, algorithm: Algorithm, charge: Charge, shadow_mode: bool) -> Rule:
    return Rule(
        domain,
        OVERRIDE,
        rate,
        shadow_mode=shadow_mode,
        shadowed_by_service=shadow_mode,
        key_prefix=key_prefix(domain, rate, "!", algorithm),
        algorithm=algorithm,
        charge=charge,
    )


def _override_key(rule: Rule, entries: Entries) -> str:
    """Name the bucket of an override: no rule fixes the keys, so they are part of it as well as the values."""
    return shortened(rule.key_prefix + "".join(measured(key) + measured(value) for key, value in entries))
