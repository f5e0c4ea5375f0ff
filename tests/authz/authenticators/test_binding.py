"""Sender-constrained tokens: a stolen one is worth nothing (RFC 8705, RFC 9449)."""

import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.authenticators.binding import SenderChecker
from envoy_authz.authenticators.jwt_rules import JwtRulesAuthenticator
from envoy_authz.authenticators.model import JwtRule
from envoy_authz.core.request import Request
from envoy_authz.tokens.dpop import ProofVerifier, ReplayCache, Target
from envoy_authz.tokens.flaws import TokenError
from envoy_authz.tokens.keys import parse_jwk
from envoy_authz.tokens.strict import encode_base64url
from tests.authz.tokens.certificates import certificate, pem
from tests.authz.tokens.minting import ISSUER, JWKS, Source, claims, public_jwk, segment, sign, token

URI = x509.UniformResourceIdentifier("spiffe://a/b")
CERTIFICATE, _KEY = certificate(URI)
OTHER_CERTIFICATE, _OTHER = certificate(URI)
NOW_S = CERTIFICATE.not_valid_before_utc.timestamp() + 1800
SENDER = ec.generate_private_key(ec.SECP256R1())
SENDER_JWK = public_jwk(SENDER)
THUMBPRINT = parse_jwk(SENDER_JWK).thumbprint
RULE = JwtRule(ISSUER, jwks=JWKS)


class Clock:
    now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


def x5t(made: x509.Certificate) -> str:
    return encode_base64url(hashlib.sha256(made.public_bytes(Encoding.DER)).digest())


def bound(cnf: object) -> str:
    return token(claims(iat=NOW_S, exp=NOW_S + 9999, cnf=cnf))


BY_PROOF = bound({"jkt": THUMBPRINT})
BY_CERTIFICATE = bound({"x5t#S256": x5t(CERTIFICATE)})


class Caller:
    """One authenticator, and requests to it."""

    def __init__(self, origin: str = "") -> None:
        self.clock = Clock()
        self._authenticator = JwtRulesAuthenticator(
            [RULE], {RULE: Source()}, clock=self.clock, senders=SenderChecker(self.clock, origin=origin)
        )

    def send(self, authorization: str, made: x509.Certificate | None = None, **headers: str) -> str:
        request = Request(
            "GET",
            "/x?y=1",
            host="shop.example",
            scheme="https",
            source_certificate=quote(pem(made), safe="") if made else "",
            request_headers={"authorization": authorization, **headers},
        )
        found = self._authenticator.authenticate(request)
        return found.refusal.reason if found.refusal else found.tokens[0].subject


def test_a_token_bound_to_a_certificate_needs_that_one_each_time() -> None:
    caller = Caller()
    assert caller.send(f"Bearer {BY_CERTIFICATE}", CERTIFICATE) == "alice"
    assert caller.send(f"Bearer {BY_CERTIFICATE}", OTHER_CERTIFICATE) == "sender"
    assert caller.send(f"Bearer {BY_CERTIFICATE}") == "sender"
    assert caller.send(f"Bearer {BY_CERTIFICATE}", CERTIFICATE) == "alice"
    caller.clock.now_s += 5401
    assert caller.send(f"Bearer {BY_CERTIFICATE}", CERTIFICATE) == "sender"


@pytest.mark.parametrize(
    "cnf",
    [
        *(
            {},
            None,
            "x",
            [],
            {"jwk": SENDER_JWK},
            {"kid": "x"},
            {"x5t#S256": 5},
            {"x5t#S256": ""},
            {"x5t#S256": "AA=="},
        ),
        {"x5t#S256": x5t(CERTIFICATE), "jku": "https://x"},
    ],
)
def test_a_confirmation_that_is_not_understood_is_refused(cnf: object) -> None:
    payload = {**claims(iat=NOW_S, exp=NOW_S + 3600), "cnf": cnf}
    assert Caller().send(f"Bearer {token(payload)}", CERTIFICATE) == "sender"


def proof(
    changes: Mapping[str, object] | None = None,
    header: Mapping[str, object] | None = None,
    *,
    access: str = BY_PROOF,
    key: Any = SENDER,
    algorithm: str = "ES256",
) -> str:
    payload: dict[str, object] = {
        "jti": "1",
        "htm": "GET",
        "htu": "https://shop.example/x",
        "iat": NOW_S,
        "ath": encode_base64url(hashlib.sha256(access.encode()).digest()),
    }
    payload.update(changes or {})
    payload = {name: value for name, value in payload.items() if value is not None}
    head = {"typ": "dpop+jwt", "alg": algorithm, "jwk": SENDER_JWK, **(header or {})}
    signed = f"{segment(head)}.{segment(payload)}"
    return f"{signed}.{sign(signed, algorithm, key)}"


def test_a_proof_is_good_once() -> None:
    caller = Caller()
    assert caller.send(f"DPoP {BY_PROOF}", dpop=proof()) == "alice"
    assert caller.send(f"DPoP {BY_PROOF}", dpop=proof()) == "replayed"
    assert caller.send(f"DPoP {BY_PROOF}", dpop=proof({"jti": "2"})) == "alice"
    caller.clock.now_s += 60
    assert caller.send(f"DPoP {BY_PROOF}", dpop=proof({"jti": "2"})) == "replayed"
    caller.clock.now_s += 1
    assert caller.send(f"DPoP {BY_PROOF}", dpop=proof({"jti": "2"})) == "proof"


def test_a_downgrade_to_bearer_is_refused() -> None:
    caller = Caller()
    assert caller.send(f"Bearer {BY_PROOF}", dpop=proof()) == "proof"
    assert caller.send(f"DPoP {BY_PROOF}") == "proof"
    free = token(claims(iat=NOW_S, exp=NOW_S + 3600))
    assert caller.send(f"DPoP {free}", dpop=proof(access=free)) == "proof"
    assert caller.send(f"Bearer {free}") == "alice"


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"htm": "POST"},
            {"htm": "get"},
            {"htm": None},
            {"jti": None},
            {"jti": ""},
            {"jti": 5},
            {"jti": "x" * 257},
        ),
        *(
            {"htu": "https://evil.example/x"},
            {"htu": "http://shop.example/x"},
            {"htu": "https://shop.example/y"},
        ),
        *(
            {"htu": "https://shop.example:8443/x"},
            {"htu": "/x"},
            {"htu": None},
            {"htu": 5},
            {"htu": "https://shop.example/X"},
        ),
        *({"iat": NOW_S - 61}, {"iat": NOW_S + 61}, {"iat": None}, {"iat": str(NOW_S)}, {"iat": True}),
        *({"ath": None}, {"ath": "x"}, {"ath": encode_base64url(hashlib.sha256(b"other").digest())}),
    ],
    ids="-".join,
)
def test_a_proof_for_anything_else_is_refused(changes: dict[str, object]) -> None:
    assert Caller().send(f"DPoP {BY_PROOF}", dpop=proof(changes)) == "proof"


OTHER_SENDER = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ({"typ": "JWT"}, SENDER),
        ({"jwk": None}, SENDER),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, SENDER),
        ({"jwk": public_jwk(OTHER_SENDER)}, OTHER_SENDER),
        ({"jwk": {**SENDER_JWK, "d": "AAAA"}}, SENDER),
        ({"crit": ["x"]}, SENDER),
        ({}, OTHER_SENDER),
        ({"alg": "none"}, SENDER),
        ({"alg": "HS256"}, SENDER),
        ({"alg": "ES384"}, SENDER),
    ],
)
def test_a_proof_by_another_key_or_none_is_refused(header: dict[str, object], key: Any) -> None:
    assert Caller().send(f"DPoP {BY_PROOF}", dpop=proof(header=header, key=key)) == "proof"


def test_two_proofs_are_no_proof() -> None:
    assert Caller().send(f"DPoP {BY_PROOF}", dpop=f"{proof()},{proof({'jti': '2'})}") == "proof"


def test_the_target_is_compared_without_query_default_port_and_case_of_the_authority() -> None:
    for number, uri in enumerate(
        ("https://SHOP.example:443/x", "HTTPS://shop.example/x?a", "https://shop.example/x#b")
    ):
        assert Caller().send(f"DPoP {BY_PROOF}", dpop=proof({"htu": uri, "jti": str(number)})) == "alice"


def test_the_origin_that_clients_see_may_be_told() -> None:
    made = proof({"htu": "https://www.example/x"})
    assert Caller("https://www.example").send(f"DPoP {BY_PROOF}", dpop=made) == "alice"
    assert Caller().send(f"DPoP {BY_PROOF}", dpop=made) == "proof"


def test_a_full_replay_cache_refuses_and_forgets_only_what_is_too_old() -> None:
    cache = ReplayCache(capacity=2)
    assert cache.use(b"1", "a", 0, 10)
    assert cache.use(b"2", "b", 0, 20)
    assert not cache.use(b"3", "c", 5, 25)
    assert not cache.use(b"1", "a", 5, 25)
    assert cache.use(b"3", "c", 10, 30)
    assert len(cache) == 2


def test_no_holder_of_a_key_leaves_the_others_without_room_for_proofs() -> None:
    cache = ReplayCache(capacity=100)
    taken = [cache.use(b"%d" % number, "greedy", 0, 10) for number in range(200)]
    assert sum(taken) == 50
    assert cache.use(b"mine", "other", 0, 10)
    assert cache.use(b"later", "greedy", 10, 20)
    assert len(cache) == 1


@given(st.text() | st.integers(0, len(proof()) - 1))
def test_no_mutated_proof_is_accepted_and_nothing_else_is_raised(change: str | int) -> None:
    made = proof()
    text = (
        change
        if isinstance(change, str)
        else made[:change] + ("A" if made[change] != "A" else "B") + made[change + 1 :]
    )
    with pytest.raises(TokenError):
        ProofVerifier(Clock()).check(text, Target("GET", "https://shop.example/x"), BY_PROOF, THUMBPRINT)
