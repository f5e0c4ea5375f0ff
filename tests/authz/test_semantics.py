"""What policies mean, as a table: Istio's semantics with deny as the default."""

import subprocess
import sys

import pytest

from envoy_authz.core import (
    Action,
    Decision,
    Operation,
    Options,
    PathAmbiguity,
    Policy,
    PolicySet,
    Reason,
    Request,
    Rule,
    Source,
)

WEB = "spiffe://cluster.local/ns/shop/sa/web"


def allow(*rules: Rule, name: str = "a", namespace: str = "shop") -> Policy:
    return Policy(name, namespace, Action.ALLOW, rules)


def deny(*rules: Rule, name: str = "d", namespace: str = "shop") -> Policy:
    return Policy(name, namespace, Action.DENY, rules)


def to(*operations: Operation) -> Rule:
    return Rule(operations=operations)


def paths(*patterns: str) -> Rule:
    return to(Operation(paths=patterns))


def callers(*patterns: str) -> Rule:
    return Rule(sources=(Source(principals=patterns),))


def get(path: str, principal: str = "") -> Request:
    return Request("GET", path, principal)


def decide(request: Request, *policies: Policy, default: Action = Action.DENY) -> Decision:
    # Istio's semantics alone: what the guard adds has tests of its own.
    unguarded = Options(path_ambiguity=PathAmbiguity.OFF)
    return PolicySet(policies, default_action=default, options=unguarded).decide(request)


ALL = Rule()
MATCHES = [
    # rule, request, whether it matches
    ("an empty rule matches all", ALL, get("/x"), True),
    ("an exact path", paths("/x"), get("/x"), True),
    ("an exact path is not a prefix", paths("/x"), get("/x/y"), False),
    ("an exact path has its case", paths("/x"), get("/X"), False),
    ("a trailing slash is another path", paths("/x"), get("/x/"), False),
    ("a line break is another path", paths("/x"), get("/x\n"), False),
    ("a NUL is another path", paths("/x"), get("/x\x00"), False),
    ("an encoded NUL is another path", paths("/x"), get("/x%00"), False),
    ("a second slash is another path", paths("/x"), get("//x"), False),
    ("the query does not count", paths("/x"), get("/x?y=/z"), True),
    ("the fragment does not count", paths("/x"), get("/x#y"), True),
    ("dots are resolved", paths("/x"), get("/y/%2e%2e/x"), True),
    ("a prefix", paths("/x/*"), get("/x/y/z"), True),
    ("a prefix matches itself", paths("/x*"), get("/x"), True),
    ("a prefix is left by dots", paths("/x/*"), get("/x/../y"), False),
    ("a longer prefix of two", paths("/a*", "/abc*"), get("/abd"), True),
    ("a suffix", paths("*.png"), get("/x/y.png"), True),
    ("a suffix is not in the query", paths("*.png"), get("/x?y.png"), False),
    ("present", paths("*"), get("/"), True),
    ("nothing is not present", paths("*"), Request("CONNECT", ""), False),
    ("any of the paths", paths("/a", "/b"), get("/b"), True),
    ("any of the operations", to(Operation(paths=("/a",)), Operation(methods=("GET",))), get("/b"), True),
    ("not paths", to(Operation(not_paths=("/a*",))), get("/b"), True),
    ("not paths, but it is one", to(Operation(not_paths=("/a*", "/b"))), get("/b?c"), False),
    ("not paths within paths", to(Operation(paths=("/a/*",), not_paths=("/a/b",))), get("/a/b"), False),
    ("an absent path is none of them", to(Operation(not_paths=("/a",))), Request("CONNECT", ""), True),
    ("a method", to(Operation(methods=("GET",))), get("/"), True),
    ("a method has its case", to(Operation(methods=("GET",))), Request("get", "/"), False),
    ("another method", to(Operation(methods=("POST",))), get("/"), False),
    ("a method by prefix", to(Operation(methods=("G*",))), get("/"), True),
    ("a method by suffix", to(Operation(methods=("*T",))), Request("PUT", "/"), True),
    ("any method", to(Operation(methods=("*",))), Request("BREW", "/"), True),
    ("not methods", to(Operation(not_methods=("POST",))), get("/"), True),
    ("not methods, but it is one", to(Operation(not_methods=("GET",))), get("/"), False),
    ("methods and paths both", to(Operation(methods=("POST",), paths=("/x",))), get("/x"), False),
    ("methods without those not", to(Operation(methods=("GET",), not_methods=("GET",))), get("/"), False),
    ("a principal", callers("cluster.local/ns/shop/sa/web"), get("/", WEB), True),
    ("a principal in full", callers(WEB), get("/", WEB), True),
    ("another principal", callers("cluster.local/ns/shop/sa/we"), get("/", WEB), False),
    ("a principal by prefix", callers("cluster.local/ns/shop/*"), get("/", WEB), True),
    ("a principal by full prefix", callers("spiffe://cluster.local/*"), get("/", WEB), True),
    ("another trust domain", callers("cluster.local/*"), get("/", "spiffe://cluster.local.evil/ns"), False),
    ("a principal by suffix", callers("*/sa/web"), get("/", WEB), True),
    ("a subject with that suffix", callers("*/sa/web"), get("/", "CN=x,O=/sa/web"), False),
    ("a DNS name like a SPIFFE ID", callers("cluster.local/*"), get("/", "cluster.local/ns/shop"), False),
    ("any SPIFFE identity", callers("spiffe://*"), get("/", WEB), True),
    ("a DNS name is no SPIFFE identity", callers("spiffe://*"), get("/", "a.example"), False),
    ("any identity", callers("*"), get("/", "a.example"), True),
    ("no identity is not any", callers("*"), get("/"), False),
    ("no identity is no principal", callers("cluster.local/*", "*/sa/web", WEB), get("/"), False),
    ("not principals", Rule(sources=(Source(not_principals=(WEB,)),)), get("/", WEB + "2"), True),
    ("not principals, but it is one", Rule(sources=(Source(not_principals=(WEB,)),)), get("/", WEB), False),
    ("no identity is none of them", Rule(sources=(Source(not_principals=("*",)),)), get("/"), True),
    (
        "principals without those not",
        Rule(sources=(Source(("cluster.local/*",), ("*/sa/web",)),)),
        get("/", WEB),
        False,
    ),
    ("any of the sources", Rule(sources=(Source((WEB + "2",)), Source(("*/web",)))), get("/", WEB), True),
    (
        "any source and any operation",
        Rule((Source(("a/b",)), Source((WEB,))), (Operation(paths=("/a",)), Operation(paths=("/b",)))),
        get("/b", WEB),
        True,
    ),
    ("from and to both", Rule((Source((WEB,)),), (Operation(paths=("/a",)),)), get("/a"), False),
]


@pytest.mark.parametrize(
    ("rule", "request_", "matches"), [row[1:] for row in MATCHES], ids=[row[0] for row in MATCHES]
)
def test_a_rule_matches(rule: Rule, request_: Request, *, matches: bool) -> None:
    assert decide(request_, allow(rule)).allowed is matches
    assert decide(request_, allow(ALL), deny(rule)).allowed is not matches


NOTHING_ALLOWED = allow(name="nothing")
OUTCOMES = [
    # policies, default action, allowed, reason, policy, rule
    ("no policies", [], Action.DENY, False, Reason.NO_POLICIES, "", None),
    ("no policies, open", [], Action.ALLOW, True, Reason.NO_POLICIES, "", None),
    ("spec {}", [NOTHING_ALLOWED], Action.DENY, False, Reason.NO_POLICY_MATCHED, "", None),
    ("spec {}, open", [NOTHING_ALLOWED], Action.ALLOW, False, Reason.NO_POLICY_MATCHED, "", None),
    ("rules [{}]", [allow(ALL)], Action.DENY, True, Reason.ALLOWED_BY_POLICY, "shop/a", 0),
    (
        "spec {} beside another",
        [NOTHING_ALLOWED, allow(ALL)],
        Action.DENY,
        True,
        Reason.ALLOWED_BY_POLICY,
        "shop/a",
        0,
    ),
    ("DENY goes first", [allow(ALL), deny(ALL)], Action.ALLOW, False, Reason.DENIED_BY_POLICY, "shop/d", 0),
    ("DENY elsewhere", [deny(paths("/y"))], Action.DENY, False, Reason.NO_POLICY_MATCHED, "", None),
    ("DENY elsewhere, open", [deny(paths("/y"))], Action.ALLOW, True, Reason.NO_POLICY_MATCHED, "", None),
    ("ALLOW elsewhere, open", [allow(paths("/y"))], Action.ALLOW, False, Reason.NO_POLICY_MATCHED, "", None),
    (
        "the second rule",
        [allow(paths("/y"), paths("/x"))],
        Action.DENY,
        True,
        Reason.ALLOWED_BY_POLICY,
        "shop/a",
        1,
    ),
    ("no namespace", [Policy("n", rules=(ALL,))], Action.DENY, True, Reason.ALLOWED_BY_POLICY, "n", 0),
    (
        "the first of two",
        [allow(ALL), allow(ALL, name="b")],
        Action.DENY,
        True,
        Reason.ALLOWED_BY_POLICY,
        "shop/a",
        0,
    ),
]


@pytest.mark.parametrize(
    ("policies", "default", "allowed", "reason", "policy", "rule"),
    [row[1:] for row in OUTCOMES],
    ids=[row[0] for row in OUTCOMES],
)
def test_a_decision_says_which_policy_and_why(
    policies: list[Policy], default: Action, reason: Reason, policy: str, rule: int | None, *, allowed: bool
) -> None:
    decision = decide(get("/x"), *policies, default=default)
    assert (decision.allowed, decision.reason, decision.policy, decision.rule) == (
        allowed,
        reason,
        policy,
        rule,
    )
    assert decision.message.startswith("allowed" if allowed else "denied")


def test_the_message_names_policy_and_rule_and_nothing_of_the_request() -> None:
    decision = decide(get("/secret"), deny(paths("/a"), paths("/secret")))
    assert decision.message == "denied by AuthorizationPolicy shop/d (spec.rules[1])"


def test_the_same_rule_gives_the_same_object() -> None:
    policies = PolicySet([allow(paths("/x", "/y"))])
    assert policies.decide(get("/x")) is policies.decide(get("/y"))
    assert policies.decide(get("/z")) is policies.decide(get("/w"))


@pytest.mark.parametrize("pattern", ["", "/a*b", "*a*", "**"])
def test_a_pattern_that_istio_refuses_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"matches nothing|not at its one end"):
        PolicySet([allow(paths(pattern))])


def test_a_decision_tests_only_what_its_path_can_match() -> None:
    tested = 0

    class Counted(str):
        __slots__ = ()

        def startswith(self, *args: object) -> bool:
            nonlocal tested
            tested += 1
            return super().startswith(*args)  # type: ignore[arg-type]  # whatever the caller gave

    caller = Rule(sources=(Source(principals=("cluster.local/*",)),))
    policies = PolicySet(
        [
            allow(Rule(caller.sources, (Operation(methods=("GET",), paths=(f"/item/{n}",)),)), name=f"p{n}")
            for n in range(1000)
        ]
    )
    decision = policies.decide(Request("GET", "/item/999", Counted(WEB)))
    assert decision.policy == "shop/p999"
    assert tested == 1


def test_the_core_needs_neither_grpc_nor_protobuf() -> None:
    code = "import sys, envoy_authz.core; print([m for m in ('grpc', 'google.protobuf', 'envoy_sidecar') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "[]\n"
    )
