"""Policies turned into clauses: each one path pattern, with all else a rule asks for as closures behind it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from envoy_authz.core.decision import Decision, by_rule
from envoy_authz.core.patterns import (
    SPIFFE_SCHEME,
    Kind,
    Pattern,
    Test,
    any_of,
    parse_pattern,
    parse_principal,
)
from envoy_authz.core.policy import Operation, Patterns, Policy, Rule, Source


@dataclass(frozen=True, slots=True)
class Clause:
    """One way in which a rule matches: its path pattern matches and so does every test that is not None.

    `methods` are the only methods it can match, `callers` the only source principals (as Envoy gives them); None when
    they can't be listed. They are what an index keys on; the tests hold on their own.
    """

    decision: Decision
    path: Pattern | None
    methods: frozenset[str] | None
    callers: frozenset[str] | None
    method_test: Test | None
    path_test: Test | None
    principal_test: Test | None


def compile_policies(policies: Iterable[Policy]) -> Iterator[Clause]:
    """Yield the clauses of all rules, in the order of policies and rules; raises ValueError for a bad pattern."""
    for policy in policies:
        for number, rule in enumerate(policy.rules):
            yield from _clauses(rule, by_rule(policy, number))


def _clauses(rule: Rule, decision: Decision) -> Iterator[Clause]:
    principal_test = _either([_principal_test(source) for source in rule.sources])
    callers = _callers(rule.sources)
    for operation in rule.operations or (Operation(),):
        methods = [parse_pattern(text) for text in operation.methods]
        listed = methods and all(pattern.kind is Kind.EXACT for pattern in methods)
        paths: list[Pattern | None] = [parse_pattern(text) for text in operation.paths]
        for path in paths or [None]:
            yield Clause(
                decision=decision,
                path=path,
                methods=frozenset(pattern.text for pattern in methods) if listed else None,
                callers=callers,
                method_test=_both(
                    any_of(methods) if methods else None, _none_of(operation.not_methods, parse_pattern)
                ),
                path_test=_none_of(operation.not_paths, parse_pattern),
                principal_test=principal_test,
            )


def _principal_test(source: Source) -> Test | None:
    patterns = [parse_principal(text) for text in source.principals]
    return _both(
        any_of(patterns, SPIFFE_SCHEME) if patterns else None,
        _none_of(source.not_principals, parse_principal, SPIFFE_SCHEME),
    )


def _callers(sources: tuple[Source, ...]) -> frozenset[str] | None:
    patterns = [parse_principal(text) for source in sources for text in source.principals]
    if not sources or not all(source.principals for source in sources):
        return None
    if any(pattern.kind is not Kind.EXACT for pattern in patterns):
        return None
    return frozenset(SPIFFE_SCHEME + pattern.text for pattern in patterns)


def _none_of(texts: Patterns, parse: Callable[[str], Pattern], scheme: str = "") -> Test | None:
    if not texts:
        return None
    matches = any_of([parse(text) for text in texts], scheme)
    return lambda value: not matches(value)


def _both(first: Test | None, second: Test | None) -> Test | None:
    if first is None or second is None:
        return first or second
    return lambda value: first(value) and second(value)


def _either(alternatives: list[Test | None]) -> Test | None:
    """Return a test that holds when any of *alternatives* does; one of them that is None always holds, as do none."""
    tests = [test for test in alternatives if test is not None]
    if len(tests) < len(alternatives) or not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)
