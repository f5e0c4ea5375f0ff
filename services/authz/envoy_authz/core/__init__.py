"""The decision itself: a pure, synchronous function of a request and a compiled set of policies."""

from envoy_authz.core.decide import PolicySet
from envoy_authz.core.decision import Decision, Reason
from envoy_authz.core.policy import Action, Operation, Policy, Rule, Source
from envoy_authz.core.request import Request, RequestView

__all__ = [
    "Action",
    "Decision",
    "Operation",
    "Policy",
    "PolicySet",
    "Reason",
    "Request",
    "RequestView",
    "Rule",
    "Source",
]
