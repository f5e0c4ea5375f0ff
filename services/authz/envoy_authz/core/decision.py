"""What was decided, by which policy, and why."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from envoy_authz.core.mutations import Changes
from envoy_authz.core.policy import Action, DenyResponse, Policy
from envoy_authz.core.reads import attributes_read


class Reason(StrEnum):
    """Why, in one word that machines can count and alert on."""

    ALLOWED_BY_POLICY = "allowed_by_policy"
    DENIED_BY_POLICY = "denied_by_policy"
    NO_POLICY_MATCHED = "no_policy_matched"
    NO_POLICIES = "no_policies"
    MALFORMED_REQUEST = "malformed_request"
    TOO_LARGE = "too_large"
    INTERNAL_ERROR = "internal_error"
    AMBIGUOUS_PATH = "ambiguous_path"
    UNAUTHENTICATED = "unauthenticated"
    DRY_RUN = "dry_run"
    AUDITED = "audited"


# Compared by identity: each is made once, when policies are compiled, and is the key of its prebuilt answer.
@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One decision; the same object for every request that the same rule decides.

    `message` is one line for people and holds nothing of the request. `policy` is the deciding policy's `full_name`,
    and `rule` the index of its rule in `spec.rules`, from 0; empty and None when no policy decided. `reads` names the
    attributes that this rule compares; `trace` tells their values.
    """

    allowed: bool
    reason: Reason
    message: str
    policy: str = ""
    rule: int | None = None
    response: DenyResponse | None = None
    reads: tuple[str, ...] = ()


class Ambiguity(NamedTuple):
    """Two readings of one request: `primary` decided, and `other` would have been denied as `denied` says.

    `what` is `path` or `host`.
    """

    what: str
    primary: str
    other: str
    denied: Decision


class Outcome(NamedTuple):
    """All that came of one request.

    `observed` are what policies with action AUDIT and in a dry run found, which changed nothing. `ambiguity` is set when
    the guard found one, whether it denied or only reports. `changes` are for the request to the upstream.
    """

    decision: Decision
    observed: tuple[Decision, ...] = ()
    ambiguity: Ambiguity | None = None
    changes: Changes | None = None


def by_rule(policy: Policy, rule: int) -> Decision:
    """Return the decision that *policy* takes when its rule number *rule* (from 0) matches.

    For a dry run, `allowed` is what it would have decided; for AUDIT, it means nothing.
    """
    allowed = policy.action is not Action.DENY
    verb = "allowed" if allowed else "denied"
    reason = Reason.ALLOWED_BY_POLICY if allowed else Reason.DENIED_BY_POLICY
    if policy.action is Action.AUDIT:
        verb, reason = "audited", Reason.AUDITED
    elif policy.dry_run:
        verb, reason = f"would be {verb}", Reason.DRY_RUN
    return Decision(
        allowed=allowed,
        reason=reason,
        message=f"{verb} by AuthorizationPolicy {policy.full_name} (spec.rules[{rule}])",
        policy=policy.full_name,
        rule=rule,
        response=policy.deny_response,
        reads=attributes_read(policy.rules[rule]) if rule < len(policy.rules) else (),
    )


def by_ambiguity(what: str, denied: Decision) -> Decision:
    """Return the decision for a request that is allowed as read here, and *denied* as read by others."""
    by = f" by AuthorizationPolicy {denied.policy} (spec.rules[{denied.rule}])" if denied.policy else ""
    message = f"denied: this {what} can be read in two ways, one of which is denied{by}"
    return Decision(
        False, Reason.AMBIGUOUS_PATH, message, denied.policy, denied.rule, denied.response, denied.reads
    )


WOULD_MATCH_NONE = Decision(
    allowed=False,
    reason=Reason.DRY_RUN,
    message="would be denied: no AuthorizationPolicy in a dry run matched",
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
TOO_LARGE = Decision(
    allowed=False, reason=Reason.TOO_LARGE, message="denied: the request to authorize is too large"
)
INTERNAL_ERROR = Decision(
    allowed=False,
    reason=Reason.INTERNAL_ERROR,
    message="denied: the authorization service failed; its log says why",
)
