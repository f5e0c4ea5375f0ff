"""The compiled set decides as a reader of the policies would who knows nothing of indexes."""

import sys
from collections.abc import Callable
from functools import cache
from itertools import product
from types import FrameType
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from envoy_authz.core import (
    Action,
    Operation,
    Options,
    PathAmbiguity,
    Policy,
    PolicySet,
    Reason,
    Request,
    Rule,
    Source,
    paths,
)

SPIFFE = "spiffe://"


# What follows is asked again and again about few texts.
@cache
def text_matches(pattern: str, value: str) -> bool:
    if pattern == "*":
        return value != ""
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    if pattern.startswith("*"):
        return value.endswith(pattern[1:])
    return value == pattern


@cache
def principal_matches(pattern: str, value: str) -> bool:
    if pattern == "*":
        return value != ""
    if not value.startswith(SPIFFE):
        return False
    rest = pattern.removeprefix(SPIFFE)
    return rest == "*" or text_matches(rest, value.removeprefix(SPIFFE))


@cache
def field(
    match: Callable[[str, str], bool], value: str, wanted: tuple[str, ...], unwanted: tuple[str, ...]
) -> bool:
    if wanted and not any(match(pattern, value) for pattern in wanted):
        return False
    return not any(match(pattern, value) for pattern in unwanted)


@cache
def lowered(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text.lower() for text in texts)


@cache
def normalized(path: str) -> str:
    return paths.normalize(path)


def rule_matches(rule: Rule, request: Request) -> bool:
    called_by = [
        field(principal_matches, request.source_principal, source.principals, source.not_principals)
        for source in rule.sources
    ]
    calls = [
        field(text_matches, request.method, operation.methods, operation.not_methods)
        and field(text_matches, normalized(request.path), operation.paths, operation.not_paths)
        and field(text_matches, request.host.lower(), lowered(operation.hosts), lowered(operation.not_hosts))
        for operation in rule.operations
    ]
    return (any(called_by) or not called_by) and (any(calls) or not calls)


def matching(policies: list[Policy], action: Action, request: Request) -> list[tuple[str, int]]:
    return [
        (policy.full_name, number)
        for policy in policies
        if policy.action is action
        for number, rule in enumerate(policy.rules)
        if rule_matches(rule, request)
    ]


# Few values, so that every set of policies can meet every request, and patterns meet what they nearly match.
PATHS = ["/", "/a", "/ab", "/a/b", "/b", "//a", "/b/%2e%2e/a?b", "", "*"]
METHODS = ["GET", "PUT", "get"]
PRINCIPALS = ["", SPIFFE, "spiffe://a", "spiffe://a/b", "a/b", "CN=a/b"]
HOSTS = ["", "a.example", "A.example:80"]
REQUESTS = [Request(*values) for values in product(METHODS, PATHS, PRINCIPALS, HOSTS)]


def patterns(*texts: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(texts), max_size=2).map(tuple)


METHOD_PATTERNS = patterns("GET", "PUT", "G*", "*T", "*")
PATH_PATTERNS = patterns("/", "/a", "/ab", "/a*", "/a/*", "/*", "*b", "*/a", "*")
PRINCIPAL_PATTERNS = patterns("a", "spiffe://a", "a/b", "a*", "a/*", "*b", "*/b", "spiffe://*", "*")
HOST_PATTERNS = patterns("a.example", "A.EXAMPLE:80", "a.example:*", "*.example", "b", "*")
SOURCES = st.lists(st.builds(Source, PRINCIPAL_PATTERNS, PRINCIPAL_PATTERNS), max_size=2).map(tuple)
OPERATIONS = st.lists(
    st.builds(
        Operation,
        METHOD_PATTERNS,
        METHOD_PATTERNS,
        PATH_PATTERNS,
        PATH_PATTERNS,
        HOST_PATTERNS,
        HOST_PATTERNS,
    ),
    max_size=2,
).map(tuple)
RULES = st.lists(st.builds(Rule, SOURCES, OPERATIONS), max_size=2).map(tuple)
POLICIES = st.lists(st.tuples(st.sampled_from([Action.ALLOW, Action.DENY]), RULES), max_size=4).map(
    lambda drafts: [Policy(f"p{n}", "ns", action, rules) for n, (action, rules) in enumerate(drafts)]
)


@settings(max_examples=max(200, settings().max_examples))
# Suffixes of two lengths, of which the longer one alone decides, are hardly ever drawn.
@example([Policy("p", "ns", rules=(Rule((), (Operation(paths=("*b", "*/a")),)),))], Action.DENY)
@given(POLICIES, st.sampled_from([Action.ALLOW, Action.DENY]))
def test_the_index_changes_nothing(policies: list[Policy], default: Action) -> None:
    unguarded = Options(path_ambiguity=PathAmbiguity.OFF)
    compiled = PolicySet(policies, default_action=default, options=unguarded)
    for request in REQUESTS:
        decision = compiled.decide(request)
        deny = matching(policies, Action.DENY, request)
        allow = matching(policies, Action.ALLOW, request)
        open_ = default is Action.ALLOW and all(policy.action is Action.DENY for policy in policies)
        assert decision.allowed is (not deny and (bool(allow) or open_))
        decider = deny or allow
        if decider:
            assert (decision.policy, decision.rule) in decider
            assert decision.reason is (Reason.DENIED_BY_POLICY if deny else Reason.ALLOWED_BY_POLICY)
        else:
            assert decision.reason is (Reason.NO_POLICY_MATCHED if policies else Reason.NO_POLICIES)
            assert (decision.policy, decision.rule) == ("", None)


@given(POLICIES, st.builds(Request, st.text(), st.text(), st.text()))
def test_no_request_makes_it_raise(policies: list[Policy], request: Request) -> None:
    decision = PolicySet(policies).decide(request)
    assert decision.allowed in {True, False}


# Enough rules on few paths that each branch of the index has something to part.
CROWDS = st.lists(
    st.builds(
        Rule,
        st.builds(Source, PRINCIPAL_PATTERNS, PRINCIPAL_PATTERNS).map(lambda source: (source,)),
        st.builds(
            Operation,
            METHOD_PATTERNS,
            METHOD_PATTERNS,
            st.sampled_from([("/a",), ("/a*",), ("*b",), ("*",), ()]),
            st.just(()),
            HOST_PATTERNS,
        ).map(lambda operation: (operation,)),
    ),
    min_size=8,
    max_size=24,
).map(tuple)


@given(CROWDS)
def test_the_index_changes_nothing_in_a_crowd(rules: tuple[Rule, ...]) -> None:
    policies = [Policy("p", "ns", Action.ALLOW, rules)]
    compiled = PolicySet(policies, options=Options(path_ambiguity=PathAmbiguity.OFF))
    for request in REQUESTS:
        assert compiled.decide(request).allowed is bool(matching(policies, Action.ALLOW, request))


def test_a_decision_takes_as_many_steps_among_many_policies_as_among_few() -> None:
    def compiled(count: int) -> PolicySet:
        return PolicySet(
            Policy(
                f"p{number}",
                "shop",
                rules=(
                    Rule(
                        (Source((f"td/ns/a/sa/s{number}",)),),
                        (Operation(methods=("GET",), paths=("/api/*",), hosts=(f"h{number}.example",)),),
                    ),
                ),
            )
            for number in range(count)
        )

    def lines_run(policies: PolicySet, count: int) -> int:
        requests = [
            Request("GET", "/api/x", f"spiffe://td/ns/a/sa/s{number}", host=f"h{number}.example")
            for number in (step * 7919 % count for step in range(20))
        ]
        lines = 0

        def tracer(_frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return tracer

        before = sys.gettrace()
        sys.settrace(tracer)
        try:
            allowed = [policies.decide(request).allowed for request in requests]
        finally:
            sys.settrace(before)
        assert all(allowed)
        return lines

    assert lines_run(compiled(2_000), 2_000) == lines_run(compiled(100), 100)
