"""Decisions of plug-ins beside those of policies."""

from collections.abc import Sequence

from envoy_authz.authenticators.plugins import DecisionPlugin
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.decision import Outcome
from envoy_authz.core.request import RequestView


class PluggedPolicies:
    """Policies with *plugins* before them, asked in order; the first that decides is the one that counts.

    A denial of a plug-in is final. Its allowance is that of an ALLOW policy: no DENY policy is got around by it.
    """

    __slots__ = ("_plugins", "_policies")

    def __init__(self, policies: PolicySet, plugins: Sequence[DecisionPlugin]) -> None:
        self._policies = policies
        self._plugins = tuple(plugins)

    def evaluate(self, request: RequestView, authentication: Authentication) -> Outcome:
        """Return the decision for *request*."""
        for plugin in self._plugins:
            decision = plugin.decide(request, authentication)
            if decision is None:
                continue
            if not decision.allowed:
                return Outcome(decision)
            return self._policies.evaluate(request, authentication, decision)
        return self._policies.evaluate(request, authentication)
