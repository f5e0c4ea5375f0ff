"""Two sets of policies compared by deciding, with both, the requests that they tell apart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.asked import Asked
from envoy_authz.commands.boxes import Clause, scope_tests
from envoy_authz.commands.judge import Verdict, judge, trusted
from envoy_authz.commands.nearby import Nearby
from envoy_authz.commands.source import Source
from envoy_authz.commands.space import Box, Plan, Point, Space
from envoy_authz.core.policy import Action, Policy, Rule

NEW_ALLOW, NEW_DENY, OTHER_ANSWER = "new allow", "new deny", "other answer"
KINDS = (NEW_ALLOW, NEW_DENY, OTHER_ANSWER)
MOST = 100_000
_EXAMPLES = 10

Key = tuple[object, ...]


@dataclass(slots=True)
class Change:
    """Requests that are decided otherwise, by the same rules: `examples` of all `requests` that were tried."""

    kind: str
    before: Verdict
    after: Verdict
    examples: list[Asked] = field(default_factory=list)
    requests: int = 0
    seen: set[tuple[str, object]] = field(default_factory=set)


@dataclass(slots=True)
class Comparison:
    """All changes found; `whole` if each kind of request that the policies tell apart was tried."""

    changes: list[Change] = field(default_factory=list)
    requests: int = 0
    whole: bool = True
    guessed: bool = False


class _Sets(NamedTuple):
    """Both sets, and the issuers that either trusts."""

    old: Source
    new: Source
    issuers: frozenset[str]

    def both(self, asked: Asked) -> tuple[Verdict, Verdict]:
        """Return what each decides."""
        return judge(self.old, asked, self.issuers), judge(self.new, asked, self.issuers)


def compare(old: Source, new: Source, most: int = MOST) -> Comparison:
    """Return what *new* decides otherwise than *old*, of at most about *most* requests; what is new allowed first."""
    sets = _Sets(old, new, frozenset(trusted(old, new)))
    space = Space((old.policies, new.policies), issuers=trusted(old, new))
    otherwise = old.loaded.authentications != new.loaded.authentications
    also = frozenset({dim.TOKEN, dim.AUDIENCE} & space.values.keys()) if otherwise else frozenset()
    comparison = Comparison()
    found: dict[Key, Change] = {}
    tried: set[Key] = set()
    scopes = [_scope_boxes(space, place, one) for place, one in enumerate((old, new))]
    everything = [box for boxes in (*space.boxes, *scopes) for box in boxes]
    others = Nearby(everything)
    plans = sorted((space.plan(box, others, also) for box in _changed(space, scopes, old, new)), key=_size)
    for place, plan in enumerate(plans):
        share = (most - comparison.requests) // (len(plans) - place)
        comparison.whole = comparison.whole and plan.size <= share
        for point in plan.points(share):
            key = tuple(sorted(point.items(), key=_by_name))
            if key in tried:
                continue
            tried.add(key)
            comparison.requests += 1
            _try(sets, space, point, found)
    comparison.guessed = any(box.clause.loose for box in everything)
    comparison.changes = sorted(found.values(), key=lambda change: KINDS.index(change.kind))
    return comparison


def _size(plan: Plan) -> int:
    return plan.size


def _by_name(item: tuple[str, object]) -> str:
    return item[0]


def _try(sets: _Sets, space: Space, point: Point, found: dict[Key, Change]) -> None:
    asked = space.request(point)
    before, after = sets.both(asked)
    kind = kind_of(before, after)
    if kind is None:
        return
    by = before.by, after.by
    change = found.setdefault((kind, *by), Change(kind, before, after))
    change.requests += 1
    # One more example only for a value that none has: two that widen are not shown again together.
    if len(change.examples) < _EXAMPLES and not change.seen.issuperset(point.items()):
        plain = _plainest(sets, space, point, by)
        if not change.seen.issuperset(plain.items()):
            change.examples.append(space.request(plain))
        change.seen.update((*plain.items(), *point.items()))


def kind_of(before: Verdict, after: Verdict) -> str | None:
    """Return what kind of change it is; None if the caller and the upstream would see none."""
    if before.allowed != after.allowed:
        return NEW_ALLOW if after.allowed else NEW_DENY
    if before.allowed:
        return OTHER_ANSWER if before.changes != after.changes else None
    return OTHER_ANSWER if before.status != after.status else None


def _plainest(sets: _Sets, space: Space, point: Point, by: tuple[object, object]) -> Point:
    """Return *point* without what the change does not need."""
    kept = dict(point)
    for name in point:
        fewer = {key: value for key, value in kept.items() if key != name}
        before, after = sets.both(space.request(fewer))
        if (before.by, after.by) == by:
            kept = fewer
    return kept


def _changed(space: Space, scopes: Sequence[Sequence[Box]], old: Source, new: Source) -> Iterator[Box]:
    """Yield the boxes that a request must be in to be decided otherwise."""
    everything = (
        _namespaces(old) != _namespaces(new) or old.loaded.authentications != new.loaded.authentications
    )
    for before, after in (space.boxes, scopes):
        known, wanted = (Counter(_identity(box.clause) for box in boxes) for boxes in (before, after))
        for boxes, elsewhere in ((after, known), (before, wanted)):
            seen: Counter[Key] = Counter()
            for box in boxes:
                key = _identity(box.clause)
                seen[key] += 1
                if everything or seen[key] > elsewhere[key]:
                    yield box
    if everything or bool(old.policies.policies) != bool(new.policies.policies):
        yield Box(Clause(Policy("", rules=(Rule(),)), 0, ()), {})


def _scope_boxes(space: Space, place: int, source: Source) -> list[Box]:
    """Return what each ALLOW policy applies to: without a rule that matches, that is where the default does not count."""
    if source.policies.default_action is not Action.ALLOW:
        return []
    root = source.policies.options.root_namespace
    applying = {
        _scope(policy): Clause(
            Policy("", policy.namespace, rules=(Rule(),), selector=policy.selector),
            0,
            tuple(scope_tests(policy, root, careful=False)),
        )
        for policy in source.policies.policies
        if policy.action is Action.ALLOW and not policy.dry_run
    }
    return [space.box(clause, place) for clause in applying.values()]


def _namespaces(source: Source) -> set[str]:
    return {policy.namespace for policy in source.policies.policies}


def _scope(policy: Policy) -> Key:
    return policy.namespace, tuple(sorted(policy.selector.items()))


def _identity(clause: Clause) -> Key:
    """Return all of a clause that a decision depends on; the name of its policy is not of it."""
    policy = clause.policy
    expressions = policy.rules[clause.number].expressions
    return (
        policy.action,
        *_scope(policy),
        frozenset(clause.tests),
        frozenset(expressions),
        repr(policy.mutation),
        repr(policy.deny_response),
    )
