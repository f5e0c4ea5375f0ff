"""What was decided, by which policy, and why."""

from dataclasses import dataclass
from enum import StrEnum

from envoy_authz.core.policy import Action, Policy


class Reason(StrEnum):
    """Why, in one word that machines can count and alert on."""

    ALLOWED_BY_POLICY = "allowed_by_policy"
    DENIED_BY_POLICY = "denied_by_policy"
    NO_POLICY_MATCHED = "no_policy_matched"
    NO_POLICIES = "no_policies"
    MALFORMED_REQUEST = "malformed_request"
    INTERNAL_ERROR = "internal_error"


# Compared by identity: each is made once, when policies are compiled, and is the key of its prebuilt answer.
@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One decision; the same object for every request that the same rule decides.

    `message` is one line for people and holds nothing of the request. `policy` is the deciding policy's `full_name`,
    and `rule` the index of its rule in `spec.rules`, from 0; empty and None when no policy decided.
    """

    allowed: bool
    reason: Reason
    message: str
    policy: str = ""
    rule: int | None = None


def by_rule(policy: Policy, rule: int) -> Decision:
    """Return the decision that *policy* takes when its rule number *rule* (from 0) matches."""
    allowed = policy.action is Action.ALLOW
    return Decision(
        allowed=allowed,
        reason=Reason.ALLOWED_BY_POLICY if allowed else Reason.DENIED_BY_POLICY,
        message=f"{'allowed' if allowed else 'denied'} by AuthorizationPolicy {policy.full_name} (spec.rules[{rule}])",
        policy=policy.full_name,
        rule=rule,
    )


def by_no_rule(*, allowed: bool, any_policies: bool) -> Decision:
    """Return the decision for a request that no rule matched, or that met no policies at all."""
    verdict = "allowed" if allowed else "denied"
    if any_policies:
        return Decision(allowed, Reason.NO_POLICY_MATCHED, f"{verdict}: no AuthorizationPolicy matched")
    return Decision(
        allowed, Reason.NO_POLICIES, f"{verdict}: there are no policies, and this is the default action"
    )


MALFORMED_REQUEST = Decision(
    allowed=False, reason=Reason.MALFORMED_REQUEST, message="denied: the request to authorize can't be read"
)
INTERNAL_ERROR = Decision(
    allowed=False,
    reason=Reason.INTERNAL_ERROR,
    message="denied: the authorization service failed; its log says why",
)
