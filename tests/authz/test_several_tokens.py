"""Several tokens in one request: no rule is met by the issuer of one and the claims of another."""

from collections.abc import Sequence

import pytest

from envoy_authz.core import (
    Action,
    Authentication,
    Condition,
    Mutation,
    Policy,
    PolicySet,
    Request,
    Rule,
    Setting,
    Source,
    VerifiedToken,
)

STAFF = "https://staff.example"
GUESTS = "https://guests.example"
ADMINS = Rule(
    (Source(request_principals=(f"{STAFF}/*",)),),
    when=(Condition("request.auth.claims[role]", ("admin",)),),
)
WITHOUT_PROOF = Rule(
    (Source(request_principals=(f"{STAFF}/*",)),),
    when=(Condition("request.auth.claims[mfa]", (), ("true",)),),
)


def token(issuer: str, subject: str, **claims: object) -> VerifiedToken:
    return VerifiedToken(issuer, subject, frozenset(), claims, 2e9)


def allows(policies: Sequence[Policy], *tokens: VerifiedToken) -> bool:
    return PolicySet(policies).decide(Request("GET", "/"), Authentication(tokens)).allowed


CLERK = token(STAFF, "clerk")
FORGER = token(GUESTS, "guest", role="admin", mfa=True)


@pytest.mark.parametrize("tokens", [(CLERK, FORGER), (FORGER, CLERK)])
def test_an_allowance_is_not_put_together_from_two_tokens(tokens: tuple[VerifiedToken, ...]) -> None:
    assert not allows([Policy("admins", rules=(ADMINS,))], *tokens)
    cel = Rule(
        (Source(request_principals=(f"{STAFF}/*",)),), expressions=("request.auth.claims.role == 'admin'",)
    )
    assert not allows([Policy("admins", rules=(cel,))], *tokens)
    assert allows([Policy("admins", rules=(ADMINS,))], token(STAFF, "boss", role="admin"), tokens[0])


def test_a_denial_is_not_got_around_by_another_token() -> None:
    policies = [Policy("open", rules=(Rule(),)), Policy("mfa", action=Action.DENY, rules=(WITHOUT_PROOF,))]
    assert not allows(policies, CLERK)
    assert not allows(policies, CLERK, FORGER)
    assert allows(policies, token(STAFF, "clerk", mfa=True), FORGER)


def test_a_denial_by_any_token_still_denies_all_of_them() -> None:
    banned = Rule(when=(Condition("request.auth.claims[banned]", ("true",)),))
    policies = [Policy("open", rules=(Rule(),)), Policy("banned", action=Action.DENY, rules=(banned,))]
    assert not allows(policies, CLERK, token(GUESTS, "x", banned=True))


def test_an_allowance_that_one_token_spoils_is_none() -> None:
    clean = Rule(when=(Condition("request.auth.claims[banned]", (), ("true",)),))
    assert not allows([Policy("clean", rules=(clean,))], CLERK, token(GUESTS, "x", banned=True))


def test_two_tokens_can_be_asked_for_by_name() -> None:
    guest = f"request.auth.tokens.exists(t, t.iss == '{GUESTS}')"
    staff = f"request.auth.tokens.exists(t, t.iss == '{STAFF}' && t.role == 'admin')"
    both = Rule(expressions=(guest, staff))
    policies = [Policy("both", rules=(both,))]
    assert allows(policies, token(STAFF, "boss", role="admin"), token(GUESTS, "guest"))
    assert not allows(policies, CLERK, FORGER)
    # What a token says of its issuer is not what verified it.
    assert not allows(policies, token(GUESTS, "x", iss=STAFF, role="admin"), token(GUESTS, "y"))


def test_the_upstream_sees_the_claims_of_the_token_that_was_allowed() -> None:
    mutation = Mutation(set_headers=(Setting("x-user", source="request.auth.claims[sub]"),))
    staff = Rule((Source(request_principals=(f"{STAFF}/*",)),))
    policies = PolicySet([Policy("staff", rules=(staff,), mutation=mutation)])
    found = Authentication((token(GUESTS, "root", sub="root"), token(STAFF, "clerk", sub="clerk")))
    changes = policies.evaluate(Request("GET", "/"), found).changes
    assert changes is not None
    assert changes.set_headers == (("x-user", "clerk"),)
