"""Decisions and hits by rule: counted as the reference counts them, with a bounded number of labels."""

import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from math import floor
from typing import NamedTuple

from envoy_ratelimit.core.limiter import OVERRIDE, Answer, Plan, Verdict
from envoy_ratelimit.core.rule import Rule
from envoy_ratelimit.core.rules import Rules
from envoy_sidecar.telemetry.tally import OTHER, Tally

NEAR_LIMIT_RATIO = 0.8
MAX_RULES = 2000
_MAX_HEADS = 200_000
_RESULTS: Mapping[Verdict, str] = {Verdict.OK: "within_limit", Verdict.SHADOWED: "shadow_mode"}
RESULTS = (
    *(_RESULTS.get(verdict, verdict.name.lower()) for verdict in Verdict),
    "near_limit",
    "over_limit_with_local_cache",
)
"""Each verdict's result, by its number, and two more."""
CODES = tuple(verdict.name.lower() for verdict in Verdict)
_NEAR, _REMEMBERED = len(RESULTS) - 2, len(RESULTS) - 1
_DECIDED = len(RESULTS)
_OVER = int(Verdict.OVER_LIMIT)
_LINE_END = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
"""What ends a line for one reader or another, and the other control characters."""
_UNKNOWN_DOMAIN = "(unknown)"
"""Stands for every domain that is not configured: such names are the caller's, and must not become labels."""

Name = tuple[str, str]
"""A domain, and the path of a rule, perhaps with values of the request in it."""
Counts = dict[tuple[str, ...], int]
_Head = tuple[int, list[int]]
"""Of one rule: (what is left at the least for it not to be near its limit, its row)."""


class Known(NamedTuple):
    """What metrics have to know of the rules that hold: their names, and how many show no values of requests."""

    names: frozenset[Name]
    domains: frozenset[str]
    plain: int


def known_of(rules: Rules) -> Known:
    """Return what metrics have to know of *rules*."""
    names = {(rule.domain, rule.path) for rule in rules.rules}
    plain = sum(not rule.labelled for rule in rules.rules)
    return Known(
        frozenset(names | {(domain, OVERRIDE) for domain in rules.domains}), frozenset(rules.domains), plain
    )


class _Row(NamedTuple):
    """What was counted under one label."""

    rule: Name
    shows_values: bool
    counts: list[int]
    """Hits by result, and then descriptors by verdict."""


class _Derived(Tally):
    """A tally that is put together when it is read, so that counting is a list's element."""

    __slots__ = ("_read",)

    def __init__(
        self, name: str, description: str, label_names: tuple[str, ...], read: Callable[[], Counts]
    ) -> None:
        super().__init__(name, description, label_names)
        self._read = read

    @property
    def counts(self) -> Counts:
        """What is counted now."""
        return self._read()

    @counts.setter
    def counts(self, value: Counts) -> None:
        """Take no other counts."""


class RuleMetrics:
    """Counts descriptors by domain, rule and verdict, and hits (the cost of what was asked) by result.

    A hit that passes is `within_limit`, or `near_limit` once more than *near_limit_ratio* of the limit is used. One
    that is refused is `over_limit`, or `over_limit_with_local_cache` if the store *was_asked* not for its bucket. A rule
    with `detailed_metric` or `value_to_metric` is shown with values of the request. At most *max_rules* rules, or
    values of them, have labels of their own, and values only what the other rules leave; those that come after are
    `other`, and their hits are in `overflow` too.
    """

    def __init__(
        self,
        *,
        near_limit_ratio: float = NEAR_LIMIT_RATIO,
        max_rules: int = MAX_RULES,
        was_asked: Callable[[str], bool] | None = None,
    ) -> None:
        self._was_asked = was_asked
        # As it is written: 0.7 of 10 is 7 hits, where floating-point numbers leave less than 7.
        self._near_limit_ratio = Fraction(str(near_limit_ratio))
        self._max_rules = max_rules
        self._max_values = max_rules
        self._values = 0
        self._heads: dict[Rule, _Head] = {}
        self._others = _blank()
        self._rows: dict[Name, _Row] = {}
        self.unmatched = Tally("ratelimit.unmatched", "Descriptors that no rule matched", ("domain",))
        self.decisions: Tally = _Derived(
            "ratelimit.decisions",
            "Descriptors decided, by rule and outcome",
            ("domain", "rule", "code"),
            self._by_code,
        )
        self.hits: Tally = _Derived(
            "ratelimit.hits", "Hits by rule and result", ("domain", "rule", "result"), self._by_result
        )
        self.overflow: Tally = _Derived(
            "ratelimit.metrics.overflow",
            "Hits counted as `other`: their rule or value has no labels",
            (),
            self._overflowed,
        )

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """All counters, for the metrics export."""
        return self.decisions, self.unmatched, self.hits, self.overflow

    def hold(self, known: Known) -> None:
        """Count for other rules from now on, and forget those that are gone; not while `count` runs."""
        rows = {name: row for name, row in self._rows.items() if row.rule in known.names}
        self._values = sum(row.shows_values for row in rows.values())
        self._max_values = max(self._max_rules - known.plain, 0)
        self._rows = rows
        # Rules are other objects after a change, even those that stay.
        self._heads = {}
        unmatched = self.unmatched.counts.items()
        kept = {*known.domains, _UNKNOWN_DOMAIN, OTHER}
        self.unmatched.counts = {labels: count for labels, count in unmatched if labels[0] in kept}

    def count(self, plan: Plan, answer: Answer) -> None:
        """Count one request."""
        statuses, takes = answer[1], plan.takes
        if len(statuses) != len(takes):
            self._count_with_care(plan, answer)
            return
        heads = self._heads
        for place, (status, take) in enumerate(zip(statuses, takes, strict=True)):
            rule, verdict, remaining, _reset_us = status  # type: ignore[misc] # each has a bucket, so each is there
            least, row = heads.get(rule) or self._head(rule, plan, place)
            row[_DECIDED + verdict] += 1
            cost = take[2]
            if cost > 0:  # else a peek, or hits given back
                if verdict == _OVER:
                    row[self._refusal(take[0])] += cost
                else:
                    row[verdict if verdict or remaining >= least else _NEAR] += cost

    def _count_with_care(self, plan: Plan, answer: Answer) -> None:
        """Count one request of which some descriptors have no bucket."""
        takes = iter(plan.takes)
        for place, status in enumerate(answer[1]):
            if status is None:
                self.unmatched.add((plan.domain or _UNKNOWN_DOMAIN,))
                continue
            rule, verdict, remaining, _reset_us = status
            if rule.bucket is not None:
                key, _, cost, _ = next(takes)
            else:
                own_hits = plan.descriptors[place][1]
                key, cost = "", own_hits if own_hits is not None else plan.hits or 1
            least, row = self._heads.get(rule) or self._head(rule, plan, place)
            row[_DECIDED + verdict] += 1
            if cost > 0:
                if verdict == _OVER:
                    row[self._refusal(key)] += cost
                else:
                    row[verdict if verdict or remaining >= least else _NEAR] += cost

    def _refusal(self, key: str) -> int:
        return _OVER if self._was_asked is None or self._was_asked(key) else _REMEMBERED

    def _head(self, rule: Rule, plan: Plan, place: int) -> _Head:
        capacity = rule.bucket.capacity if rule.bucket is not None else 0
        least = capacity - floor(self._near_limit_ratio * capacity)
        if rule.labelled:
            return least, self._row(rule, rule.label(plan.descriptors[place][0]), shows_values=True)
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()
        head = self._heads[rule] = (least, self._row(rule, rule.path, shows_values=False))
        return head

    def _row(self, rule: Rule, label: str, *, shows_values: bool) -> list[int]:
        row = self._rows.get((rule.domain, label))
        if row is None:
            if len(self._rows) >= self._max_rules or (shows_values and self._values >= self._max_values):
                return self._others
            self._values += shows_values
            row = self._rows[rule.domain, label] = _Row((rule.domain, rule.path), shows_values, _blank())
        return row.counts

    def _by_result(self) -> Counts:
        return self._labelled(RESULTS, 0)

    def _by_code(self) -> Counts:
        return self._labelled(CODES, _DECIDED)

    def _labelled(self, names: tuple[str, ...], first: int) -> Counts:
        # list() takes the rows in one step, while the dispatcher goes on adding to them.
        rows = [(name, row.counts) for name, row in list(self._rows.items())]
        return {
            (*name, names[at]): number
            for name, counts in [*rows, ((OTHER, OTHER), self._others)]
            for at, number in enumerate(counts[first : first + len(names)])
            if number
        }

    def _overflowed(self) -> Counts:
        return {(): sum(self._others[:_DECIDED])}


def _blank() -> list[int]:
    return [0] * (len(RESULTS) + len(CODES))


def reference_stats(hits: Mapping[tuple[str, ...], int]) -> list[tuple[str, int]]:
    """Return the counts under the reference's names (`ratelimit.service.rate_limit.edge.user.over_limit`), sorted.

    There `within_limit` holds what is near the limit too, and `total_hits` holds all. A name is a line of its own: what
    could end one is `_`, for values of requests may have it.
    """
    stats: dict[str, int] = {}
    for (domain, path, result), count in hits.items():
        names = {
            "within_limit": ("within_limit",),
            "near_limit": ("within_limit", "near_limit"),
            "over_limit": ("over_limit",),
            "over_limit_with_local_cache": ("over_limit", "over_limit_with_local_cache"),
            "shadow_mode": ("over_limit", "shadow_mode"),
        }.get(result, (result,))
        for name in ("total_hits", *names):
            key = _LINE_END.sub("_", f"ratelimit.service.rate_limit.{domain}.{path}.{name}")
            stats[key] = stats.get(key, 0) + count
    return sorted(stats.items())
