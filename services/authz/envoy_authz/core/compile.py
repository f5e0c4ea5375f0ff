"""Policies turned into clauses: each one path pattern, with all else a rule asks for as closures behind it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from envoy_authz.core.applicability import applies
from envoy_authz.core.checks import Check, Named, any_check, on
from envoy_authz.core.conditions import compile_condition
from envoy_authz.core.decision import Decision, by_rule
from envoy_authz.core.expressions import compile_expression
from envoy_authz.core.operations import operation_keys, operation_tests
from envoy_authz.core.patterns import Kind, Pattern, parse_path, template_prefix, template_test
from envoy_authz.core.policy import Action, Operation, Policy, Rule
from envoy_authz.core.sources import callers_of, is_only_callers, source_test

KEYS = ("method", "host", "caller", "namespace")
"""The attributes of `Facts` that an index may key on."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One way in which a rule matches: its path pattern matches and so does every test.

    `keys` are, for some of `KEYS`, the only values with which it can match: what an index keys on. A test that names
    a key says nothing that the key doesn't.
    """

    decision: Decision
    path: Pattern | None
    keys: Mapping[str, frozenset[str]]
    tests: tuple[Named, ...]


def compile_policies(
    policies: Iterable[Policy], root_namespace: str, *, every_host: bool = False
) -> Iterator[Clause]:
    """Yield the clauses of all rules, in the order of policies and rules; raises ValueError for a bad pattern.

    See `operation_tests` for *every_host*.
    """
    for policy in policies:
        careful = policy.action is Action.ALLOW
        scope_keys, scope = applies(policy, root_namespace, careful=careful)
        for number, rule in enumerate(policy.rules):
            decision = by_rule(policy, number)
            for clause in _clauses(rule, decision, policy, careful=careful, every_host=every_host):
                yield Clause(
                    clause.decision, clause.path, {**scope_keys, **clause.keys}, (*scope, *clause.tests)
                )


def _clauses(
    rule: Rule, decision: Decision, policy: Policy, *, careful: bool, every_host: bool
) -> Iterator[Clause]:
    tests: list[Named] = []
    keys: dict[str, frozenset[str]] = {}
    called_by = any_check([source_test(source, policy.namespace, careful=careful) for source in rule.sources])
    callers = callers_of(rule.sources)
    if callers is not None:
        keys["caller"] = callers
    if called_by is not None:
        tests.append(Named("caller" if callers and is_only_callers(rule.sources) else "", called_by))
    conditions: list[Check] = [compile_condition(condition, careful=careful) for condition in rule.when]
    conditions.extend(compile_expression(text, careful=careful) for text in rule.expressions)
    tests.extend(Named("", check) for check in conditions)
    for operation in rule.operations or (Operation(),):
        called = operation_tests(operation, careful=careful, every_host=every_host)
        for path in map(parse_path, operation.paths) if operation.paths else (None,):
            pattern, path_tests = _indexed(path)
            yield Clause(decision, pattern, keys | operation_keys(operation), (*path_tests, *called, *tests))


def _indexed(path: Pattern | None) -> tuple[Pattern | None, tuple[Named, ...]]:
    """Return what an index finds a path pattern by, and the test that is left to do."""
    if path is not None and path.kind is Kind.TEMPLATE:
        test = Named("", on("path", template_test(path.text)))
        return Pattern(Kind.PREFIX, template_prefix(path.text)), (test,)
    if path is not None and path.kind is Kind.PRESENT:
        return None, (Named("", on("path", bool)),)
    return path, ()
