"""Each policy and rule against one request: which part holds, which does not, and what was seen there.

A part is one field of a `source` or an `operation`, or one condition. Each is asked by the core's own test of a rule
that has nothing else in it, so that what is said here is what is decided.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from envoy_authz.commands.advice import camel
from envoy_authz.commands.asked import Asked
from envoy_authz.core.applicability import applies
from envoy_authz.core.attributes import CLIENT_UNKNOWN, parse_key
from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.checks import all_of
from envoy_authz.core.conditions import compile_condition
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.expressions import compile_expression
from envoy_authz.core.facts import Facts
from envoy_authz.core.operations import operation_tests
from envoy_authz.core.patterns import any_of, parse_path
from envoy_authz.core.policy import Action, Condition, Operation, Policy, Rule, Source
from envoy_authz.core.sources import source_test

Check = Callable[[Facts], bool]
_NOT = "not_"
_ABSENT = "nothing"
_SEEN: dict[str, Callable[[Facts], object]] = {
    "principals": lambda facts: facts.caller,
    "request_principals": lambda facts: facts.request_principals,
    "namespaces": lambda facts: facts.source.namespace,
    "service_accounts": lambda facts: facts.source.account,
    "trust_domains": lambda facts: facts.source.trust_domain,
    "ip_blocks": lambda facts: facts.source_ip,
    "remote_ip_blocks": lambda facts: facts.remote_ip or f"unknown: {CLIENT_UNKNOWN}",
    "methods": lambda facts: facts.method,
    "paths": lambda facts: facts.path,
    "hosts": lambda facts: facts.host,
    "ports": lambda facts: facts.request.destination_port,
    "grpc_methods": lambda facts: facts.path if facts.is_grpc else f"{facts.path}, not gRPC",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that a rule asks: `where` below the rule, what it `wanted`, what was `seen`, and whether it `holds`."""

    where: str
    wanted: str
    seen: str
    holds: bool


@dataclass(frozen=True, slots=True)
class RuleWalk:
    """A rule: the alternatives of `from` and of `to` (any suffices), and its conditions (all are needed)."""

    number: int
    matched: bool
    sources: tuple[tuple[Part, ...], ...]
    operations: tuple[tuple[Part, ...], ...]
    conditions: tuple[Part, ...]

    @property
    def failed(self) -> tuple[Part, ...]:
        """What did not hold; of alternatives, those of the one that came closest."""
        return (*_closest(self.sources), *_closest(self.operations), *_failed(self.conditions))


@dataclass(frozen=True, slots=True)
class PolicyWalk:
    """A policy: whether it applies to the workload (`scope` says why not), and its rules."""

    policy: Policy
    applies: bool
    scope: str
    rules: tuple[RuleWalk, ...]

    @property
    def matched(self) -> bool:
        """Whether any rule did, for a workload that it applies to."""
        return any(rule.matched for rule in self.rules)


def walk(policies: PolicySet, asked: Asked) -> tuple[PolicyWalk, ...]:
    """Return how each policy looks at the request, DENY first, as they are decided."""
    order = [Action.DENY, Action.ALLOW, Action.AUDIT]
    facts = policies.facts(asked.request, asked.authentication)
    ordered = sorted(policies.policies, key=lambda policy: order.index(policy.action))
    return tuple(_policy(policy, facts, policies.options.root_namespace) for policy in ordered)


def _policy(policy: Policy, facts: Facts, root_namespace: str) -> PolicyWalk:
    careful = policy.action is Action.ALLOW
    _keys, tests = applies(policy, root_namespace, careful=careful)
    holds = all(test.check(facts) for test in tests)
    scope = "" if holds else _scope(policy, facts)
    rules = [_of_tokens(rule, number, policy, facts, holds=holds) for number, rule in enumerate(policy.rules)]
    return PolicyWalk(policy, holds, scope, tuple(rules))


def _scope(policy: Policy, facts: Facts) -> str:
    wanted = [f"namespace {policy.namespace}"] if policy.namespace else []
    wanted.extend(f"{name}={value}" for name, value in policy.selector.items())
    seen = f"namespace {facts.namespace or 'unknown'}"
    labels = {**facts.request.destination_labels}
    labels.update(
        {
            name.removeprefix("labels."): value
            for name, value in facts.request.context.items()
            if name.startswith("labels.")
        }
    )
    if policy.selector:
        seen += ", labels " + (", ".join(f"{name}={value}" for name, value in labels.items()) or "unknown")
    return f"is for {', '.join(wanted)}; the request is for {seen}"


def _of_tokens(rule: Rule, number: int, policy: Policy, facts: Facts, *, holds: bool) -> RuleWalk:
    """Return the walk by all tokens together, or, of several, by the one that an ALLOW rule needs alone."""
    whole = _rule(rule, number, policy, facts, holds=holds)
    if len(facts.tokens) <= 1 or whole.matched is not (policy.action is Action.ALLOW):
        return whole
    alone = [_rule(rule, number, policy, one, holds=holds) for one in facts.by_token()]
    return min(alone, key=lambda walked: (not walked.matched, len(walked.failed)))


def _rule(rule: Rule, number: int, policy: Policy, facts: Facts, *, holds: bool) -> RuleWalk:
    careful = policy.action is Action.ALLOW
    sources = tuple(
        tuple(_source_parts(source, place, policy, facts, careful=careful))
        for place, source in enumerate(rule.sources)
    )
    operations = tuple(
        tuple(_operation_parts(operation, place, facts, careful=careful))
        for place, operation in enumerate(rule.operations)
    )
    conditions = tuple(_conditions(rule, facts, careful=careful))
    matched = (
        holds
        and (not sources or any(all(part.holds for part in parts) for parts in sources))
        and (not operations or any(all(part.holds for part in parts) for parts in operations))
        and all(part.holds for part in conditions)
    )
    return RuleWalk(number, matched, sources, operations, conditions)


def _source_parts(
    source: Source, place: int, policy: Policy, facts: Facts, *, careful: bool
) -> Iterator[Part]:
    for name, values in _given(source):
        check = source_test(Source(**{name: values}), policy.namespace, careful=careful)
        yield _part(f"from[{place}].source", name, values, check, facts)


def _operation_parts(operation: Operation, place: int, facts: Facts, *, careful: bool) -> Iterator[Part]:
    for name, values in _given(operation):
        check: Check | None
        if name == "paths":
            test = any_of([parse_path(text) for text in values])
            check = _on_path(test)
        else:
            named = operation_tests(Operation(**{name: values}), careful=careful)
            check = all_of([one.check for one in named])
        yield _part(f"to[{place}].operation", name, values, check, facts)


def _on_path(test: Callable[[str], bool]) -> Check:
    return lambda facts: test(facts.path)


def _given(part: Source | Operation) -> Iterator[tuple[str, Any]]:
    for field in fields(part):
        values = getattr(part, field.name)
        if values:
            yield field.name, values


def _part(where: str, name: str, values: Sequence[object], check: Check | None, facts: Facts) -> Part:
    seen = _SEEN[name.removeprefix(_NOT)](facts)
    holds = check is None or check(facts)
    wanted = ", ".join(map(str, values))
    if name.startswith(_NOT):
        wanted = f"none of {wanted}"
    return Part(f"{where}.{camel(name)}", wanted, _written(seen), holds)


def _conditions(rule: Rule, facts: Facts, *, careful: bool) -> Iterator[Part]:
    for condition in rule.when:
        holds = compile_condition(condition, careful=careful)(facts)
        values = parse_key(condition.key).values(facts)
        seen = f"unknown: {values.reason}" if isinstance(values, Unreadable) else _written(values)
        yield Part(f"when {condition.key}", _wanted(condition), seen, holds)
    for text in rule.expressions:
        holds = compile_expression(text, careful=careful)(facts)
        yield Part("when cel", text, "true" if holds else "false, or an error", holds)


def _wanted(condition: Condition) -> str:
    parts = [", ".join(condition.values)] if condition.values else []
    if condition.not_values:
        parts.append(f"none of {', '.join(condition.not_values)}")
    return "; ".join(parts)


def _written(seen: object) -> str:
    if isinstance(seen, list):
        return ", ".join(map(str, seen)) or _ABSENT
    return str(seen) if seen else _ABSENT


def _failed(parts: Sequence[Part]) -> tuple[Part, ...]:
    return tuple(part for part in parts if not part.holds)


def _closest(alternatives: Sequence[Sequence[Part]]) -> tuple[Part, ...]:
    return min(map(_failed, alternatives), key=len, default=())
