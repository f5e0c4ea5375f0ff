"""Plug-ins beside policies: an allowance of theirs gets around no DENY, and forges no header."""

from envoy_authz.authenticators.deciders import PluggedPolicies
from envoy_authz.core import (
    Action,
    Authentication,
    Decision,
    Mutation,
    Operation,
    Policy,
    PolicySet,
    Reason,
    Request,
    RequestView,
    Rule,
    Setting,
)
from envoy_authz.core.authentication import ANONYMOUS

YES = Decision(
    allowed=True, reason=Reason.ALLOWED_BY_POLICY, message="allowed by a plug-in", policy="plug-in"
)
NO = Decision(allowed=False, reason=Reason.DENIED_BY_POLICY, message="denied by a plug-in", policy="plug-in")


class Says:
    def __init__(self, decision: Decision | None) -> None:
        self._decision = decision

    def decide(self, request: RequestView, authentication: Authentication) -> Decision | None:  # noqa: ARG002
        return self._decision


def plugged(*says: Decision | None) -> PluggedPolicies:
    mutation = Mutation(set_headers=(Setting("x-user", source="request.auth.claims[sub]"),))
    shop = Rule(operations=(Operation(paths=("/shop/*",)),))
    admin = Rule(operations=(Operation(paths=("/admin", "/admin/*"), hosts=("*",)),))
    policies = [
        Policy("shop", rules=(shop,), mutation=mutation),
        Policy("d", action=Action.DENY, rules=(admin,)),
    ]
    return PluggedPolicies(PolicySet(policies), [Says(decision) for decision in says])


def decision(policies: PluggedPolicies, path: str) -> Decision:
    return policies.evaluate(Request("GET", path, host="h"), ANONYMOUS).decision


def test_the_first_that_decides_counts() -> None:
    assert decision(plugged(None, NO, YES), "/shop/1") is NO
    assert decision(plugged(None, YES, NO), "/elsewhere") is YES
    assert decision(plugged(None), "/elsewhere").reason is Reason.NO_POLICY_MATCHED


def test_an_allowance_gets_around_no_denial_in_no_spelling() -> None:
    assert decision(plugged(YES), "/admin").reason is Reason.DENIED_BY_POLICY
    for path in ("//admin", "/x/..%2fadmin", "/admin;v=1"):
        assert decision(plugged(YES), path).reason is Reason.AMBIGUOUS_PATH


def test_an_allowance_leaves_no_identity_header_of_the_client() -> None:
    changes = plugged(YES).evaluate(Request("GET", "/elsewhere"), ANONYMOUS).changes
    assert changes is not None
    assert changes.remove_headers == ("x-user",)
