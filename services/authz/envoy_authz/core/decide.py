"""A set of policies, compiled once, that decides requests."""

from collections.abc import Iterable

from envoy_authz.core.compile import compile_policies
from envoy_authz.core.decision import Decision, by_no_rule
from envoy_authz.core.index import Index
from envoy_authz.core.paths import normalize
from envoy_authz.core.policy import Action, Policy
from envoy_authz.core.request import RequestView


class PolicySet:
    """Compiled policies; immutable, so it may be shared and swapped freely.

    *default_action* is what happens when there is no ALLOW policy and no DENY policy matches: DENY here, where Istio
    has ALLOW. As soon as there is an ALLOW policy, one has to match. Raises ValueError for a pattern that
    `patterns.parse_pattern` refuses.
    """

    __slots__ = ("_allow", "_deny", "_otherwise", "_uses_principal", "default_action", "policies")

    def __init__(self, policies: Iterable[Policy], *, default_action: Action = Action.DENY) -> None:
        self.policies = tuple(policies)
        self.default_action = default_action
        allow = [policy for policy in self.policies if policy.action is Action.ALLOW]
        deny = [policy for policy in self.policies if policy.action is Action.DENY]
        self._allow = Index(compile_policies(allow))
        self._deny = Index(compile_policies(deny)) if deny else None
        self._otherwise = by_no_rule(
            allowed=default_action is Action.ALLOW and not allow, any_policies=bool(self.policies)
        )
        self._uses_principal = any(rule.sources for policy in self.policies for rule in policy.rules)

    def decide(self, request: RequestView) -> Decision:
        """Return the decision for *request*: DENY policies first, then ALLOW, then the default. Never raises.

        Decisions are objects of this set: the same rule always gives the same object.
        """
        path = normalize(request.path)
        method = request.method
        principal = request.source_principal if self._uses_principal else ""
        if self._deny is not None:
            denied = self._deny.find(method, path, principal)
            if denied is not None:
                return denied
        allowed = self._allow.find(method, path, principal)
        return self._otherwise if allowed is None else allowed
