"""What a set of policies, with the issuers that it trusts, makes of one request."""

from collections.abc import Mapping
from typing import NamedTuple

from envoy_authz.authenticators.request_authentication import applies
from envoy_authz.authenticators.workloads import workload_of_request
from envoy_authz.commands.asked import Asked
from envoy_authz.commands.source import Source
from envoy_authz.core.authentication import Authentication, VerifiedToken
from envoy_authz.core.decision import Outcome, Reason
from envoy_authz.core.mutations import Changes


class Verdict(NamedTuple):
    """A decision: who took it, why, and what goes with it (`status` when denied, changes when allowed)."""

    allowed: bool
    reason: str
    message: str
    policy: str = ""
    rule: int | None = None
    status: int = 200
    changes: Changes | None = None

    @property
    def by(self) -> tuple[bool, str, str, int | None]:
        """Who decided, and what."""
        return self.allowed, self.reason, self.policy, self.rule

    def as_data(self) -> Mapping[str, object]:
        """Return it as JSON values."""
        return {
            "decision": "allow" if self.allowed else "deny",
            "reason": self.reason,
            "policy": self.policy,
            "rule": self.rule,
            "message": self.message,
        }


_REFUSED = Verdict(False, Reason.UNAUTHENTICATED.value, "denied: the token is of no issuer", status=401)
_FORBIDDEN = 403


def verdict_of(outcome: Outcome) -> Verdict:
    """Return *outcome* in short."""
    decision = outcome.decision
    response = decision.response
    status = 200 if decision.allowed else _FORBIDDEN if response is None else response.status
    return Verdict(
        decision.allowed,
        decision.reason.value,
        decision.message,
        decision.policy,
        decision.rule,
        status,
        outcome.changes,
    )


def trusted(*sources: Source) -> Mapping[str, list[str]]:
    """Return the issuers that the RequestAuthentication of any of *sources* trusts, with the audiences it asks for."""
    issuers: dict[str, list[str]] = {}
    for document in (document for source in sources for document in source.loaded.authentications):
        for rule in document.rules:
            issuers.setdefault(rule.issuer, []).extend(rule.audiences)
    return issuers


def judge(source: Source, asked: Asked, issuers: frozenset[str] = frozenset()) -> Verdict:
    """Decide *asked*, whose tokens are taken as rightly signed.

    Those of *issuers* are verified by RequestAuthentication, so *source* must trust them; others are verified by
    whatever else there is (API keys, plug-ins).
    """
    tokens = [token for token in asked.authentication.tokens if token.issuer in issuers]
    if not tokens:
        return verdict_of(source.policies.evaluate(asked.request, asked.authentication))
    if not source.loaded.authentications:
        others = tuple(token for token in asked.authentication.tokens if token not in tokens)
        return verdict_of(source.policies.evaluate(asked.request, Authentication(tokens=others)))
    if not all(_trusted(token, source, asked) for token in tokens):
        return _REFUSED
    return verdict_of(source.policies.evaluate(asked.request, asked.authentication))


def _trusted(token: VerifiedToken, source: Source, asked: Asked) -> bool:
    namespace, labels = workload_of_request(asked.request)
    root = source.policies.options.root_namespace
    rules = [
        rule
        for document in source.loaded.authentications
        if applies(document, namespace, labels, root)
        for rule in document.rules
    ]
    return any(
        rule.issuer == token.issuer and (not rule.audiences or set(rule.audiences) & token.audiences)
        for rule in rules
    )
