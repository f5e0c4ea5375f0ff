"""The decision itself: a pure, synchronous function of a request and a compiled set of policies."""

from envoy_authz.core.authentication import Authentication, Authenticator, Refusal, VerifiedToken
from envoy_authz.core.decide import PolicySet
from envoy_authz.core.decision import Ambiguity, Decision, Outcome, Reason
from envoy_authz.core.mutations import Changes
from envoy_authz.core.options import Options, PathAmbiguity
from envoy_authz.core.paths import Normalization
from envoy_authz.core.policy import (
    Action,
    Condition,
    DenyResponse,
    Mutation,
    Operation,
    Policy,
    Rule,
    Setting,
    Source,
)
from envoy_authz.core.request import Request, RequestView
from envoy_authz.core.trace import Trace, trace

__all__ = [
    "Action",
    "Ambiguity",
    "Authentication",
    "Authenticator",
    "Changes",
    "Condition",
    "Decision",
    "DenyResponse",
    "Mutation",
    "Normalization",
    "Operation",
    "Options",
    "Outcome",
    "PathAmbiguity",
    "Policy",
    "PolicySet",
    "Reason",
    "Refusal",
    "Request",
    "RequestView",
    "Rule",
    "Setting",
    "Source",
    "Trace",
    "VerifiedToken",
    "trace",
]
