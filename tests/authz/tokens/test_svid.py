"""JWT-SVIDs: by the bundle of the trust domain, and nothing that the standard leaves out."""

import pytest

from envoy_authz.authenticators.model import HeaderPlace
from envoy_authz.authenticators.svid import SvidAuthenticator
from envoy_authz.core.request import Request
from envoy_authz.tokens import Flaw, TokenError, parse_jwt
from envoy_authz.tokens.svid import SvidVerifier, parse_bundle
from tests.authz.tokens.minting import (
    EC_KEYS,
    ED25519_KEY,
    NOW_S,
    OTHER_RSA_KEY,
    RSA_KEY,
    Source,
    jwks,
    public_jwk,
    token,
)

WEB = "spiffe://cluster.local/ns/shop/sa/web"
BUNDLE = jwks(
    public_jwk(RSA_KEY, kid="rsa", use="jwt-svid"),
    public_jwk(EC_KEYS["ES256"], kid="ES256", use="jwt-svid"),
    public_jwk(ED25519_KEY, kid="ed25519", use="jwt-svid"),
    public_jwk(OTHER_RSA_KEY, kid="x509", use="x509-svid"),
)
OTHER_BUNDLE = jwks(public_jwk(OTHER_RSA_KEY, kid="rsa", use="jwt-svid"))
VERIFIER = SvidVerifier(
    {"cluster.local": Source(parse_bundle(BUNDLE)), "other": Source(parse_bundle(OTHER_BUNDLE))},
    frozenset({"shop"}),
)


def payload(**changes: object) -> dict[str, object]:
    made = {"sub": WEB, "aud": ["shop"], "exp": NOW_S + 300, **changes}
    return {name: value for name, value in made.items() if value is not None}


def flaw(text: str) -> Flaw:
    with pytest.raises(TokenError) as caught:
        VERIFIER.verify(parse_jwt(text), NOW_S)
    return caught.value.flaw


@pytest.mark.parametrize(("algorithm", "kid"), [("RS256", "rsa"), ("PS512", "rsa"), ("ES256", "ES256")])
def test_an_svid_is_verified_by_the_bundle_of_its_trust_domain(algorithm: str, kid: str) -> None:
    found = VERIFIER.verify(parse_jwt(token(payload(), algorithm=algorithm, kid=kid)), NOW_S)
    assert (found.issuer, found.subject) == ("spiffe://cluster.local", WEB)


@pytest.mark.parametrize("kind", ["JWT", "JOSE", "jwt"])
def test_the_types_of_the_standard_are_accepted(kind: str) -> None:
    assert VERIFIER.verify(parse_jwt(token(payload(iss="any"), header={"typ": kind})), NOW_S).subject == WEB


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"aud": None}, Flaw.AUDIENCE),
        ({"aud": []}, Flaw.AUDIENCE),
        ({"aud": "bank"}, Flaw.AUDIENCE),
        ({"exp": None}, Flaw.CLAIM),
        ({"exp": NOW_S - 60}, Flaw.EXPIRED),
        ({"sub": None}, Flaw.SUBJECT),
        ({"sub": "alice"}, Flaw.SUBJECT),
        ({"sub": "spiffe://cluster.local"}, Flaw.SUBJECT),
        ({"sub": WEB + "/"}, Flaw.SUBJECT),
        ({"sub": "spiffe://cluster.local/%61"}, Flaw.SUBJECT),
        ({"sub": "spiffe://unknown/x"}, Flaw.ISSUER),
        ({"sub": "spiffe://other/x"}, Flaw.SIGNATURE),
        ({"iss": 5}, Flaw.CLAIM),
    ],
)
def test_what_the_standard_asks_for_is_held(changes: dict[str, object], expected: Flaw) -> None:
    assert flaw(token(payload(**changes))) is expected


def test_other_algorithms_types_and_keys_are_refused() -> None:
    assert flaw(token(payload(), algorithm="EdDSA", kid="ed25519")) is Flaw.ALGORITHM
    assert flaw(token(payload(), header={"typ": "at+jwt"})) is Flaw.TYPE
    assert flaw(token(payload(), kid="x509", key=OTHER_RSA_KEY)) is Flaw.KEY_UNKNOWN


def test_an_audience_is_needed() -> None:
    with pytest.raises(ValueError, match="audience"):
        SvidVerifier({}, frozenset())


def test_an_svid_that_is_bound_to_a_sender_needs_its_proof() -> None:
    made = SvidAuthenticator(VERIFIER, HeaderPlace("authorization", "Bearer "), clock=lambda: NOW_S)
    bound = token(payload(cnf={"jkt": "x"}))
    for value, reason in ((f"Bearer {bound}", "proof"), (f"DPoP {token(payload())}", "proof")):
        for _again in range(2):
            found = made.authenticate(Request("GET", "/", request_headers={"authorization": value}))
            assert found.refusal is not None
            assert found.refusal.reason == reason


def test_requests_are_authenticated_by_the_svid_in_a_header() -> None:
    made = SvidAuthenticator(VERIFIER, HeaderPlace("x-svid"), clock=lambda: NOW_S)

    def found(value: str | None) -> str:
        headers = {} if value is None else {"x-svid": value}
        result = made.authenticate(Request("GET", "/", request_headers=headers))
        if result.refusal:
            return result.refusal.reason
        assert result.remove_headers == (("x-svid",) if value else ())
        return result.tokens[0].subject if result.tokens else ""

    assert found(None) == ""
    assert found(token(payload())) == found(token(payload())) == WEB
    assert found("x") == "malformed"
