"""Which tokens are accepted, and that every known attack on JWTs is refused (RFC 8725)."""

import hmac
import json
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.tokens import Expectations, Flaw
from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.jwt import MAX_TOKEN_LENGTH
from envoy_authz.tokens.strict import encode_base64url
from tests.authz.tokens.judging import JSON, accept, flaw, is_refused
from tests.authz.tokens.minting import (
    AUDIENCE,
    EC_KEYS,
    ED25519_KEY,
    ISSUER,
    JWKS,
    NOW_S,
    RSA_KEY,
    Source,
    claims,
    jwks,
    public_jwk,
    segment,
    sign,
    token,
)


@pytest.mark.parametrize(
    ("algorithm", "kid"),
    [
        *((name, "rsa") for name in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        *((name, name) for name in EC_KEYS),
        ("EdDSA", "ed25519"),
        ("EdDSA", "ed448"),
    ],
)
def test_each_algorithm_verifies(algorithm: str, kid: str) -> None:
    verified = accept(token(claims(azp="app"), algorithm=algorithm, kid=kid))
    assert verified.principal == f"{ISSUER}/alice"
    assert verified.audiences == {AUDIENCE}
    assert verified.presenter == "app"
    assert verified.expires_at_s == NOW_S + 3660


def test_the_algorithms_are_those_and_no_others() -> None:
    families = {f"{family}{size}" for family in ("RS", "PS", "ES") for size in ("256", "384", "512")}
    assert families | {"EdDSA"} == ALL


# Algorithms


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AA"])
def test_none_is_never_an_algorithm(name: str, signature: str) -> None:
    assert flaw(f"{segment({'alg': name, 'kid': 'rsa'})}.{segment(claims())}.{signature}") is Flaw.ALGORITHM


@pytest.mark.parametrize("form", ["pem", "der", "jwks", "modulus"])
def test_algorithm_confusion_a_public_key_is_no_hmac_secret(form: str) -> None:
    public = RSA_KEY.public_key()
    secrets = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "der": public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        "jwks": JWKS.encode(),
        "modulus": public.public_numbers().n.to_bytes(256, "big"),
    }
    signed = f"{segment({'alg': 'HS256', 'kid': 'rsa'})}.{segment(claims())}"
    forged = hmac.new(secrets[form], signed.encode(), sha256).digest()
    assert flaw(f"{signed}.{encode_base64url(forged)}") is Flaw.ALGORITHM


@pytest.mark.parametrize(("claimed", "real"), [("PS256", "RS256"), ("RS256", "PS256"), ("RS512", "RS256")])
def test_algorithm_confusion_one_rsa_scheme_is_not_another(claimed: str, real: str) -> None:
    signed = f"{segment({'alg': claimed, 'kid': 'rsa'})}.{segment(claims())}"
    assert flaw(f"{signed}.{sign(signed, real, RSA_KEY)}") is Flaw.SIGNATURE


def test_a_key_bound_to_one_algorithm_verifies_no_other() -> None:
    bound = Source(jwks(public_jwk(RSA_KEY, kid="rsa", alg="PS256")))
    assert flaw(token(), source=bound) is Flaw.KEY_UNKNOWN
    accept(token(algorithm="PS256"), source=bound)


def test_a_curve_is_bound_to_its_algorithm() -> None:
    signed = f"{segment({'alg': 'ES256', 'kid': 'ES384'})}.{segment(claims())}"
    assert flaw(f"{signed}.{sign(signed, 'ES384', EC_KEYS['ES384'])}") is Flaw.KEY_UNKNOWN


def test_only_the_algorithms_of_the_issuer_are_accepted() -> None:
    only = Expectations(ISSUER, frozenset({AUDIENCE}), frozenset({"ES256"}))
    assert flaw(token(), only) is Flaw.ALGORITHM
    accept(token(algorithm="ES256", kid="ES256"), only)
    invented = Expectations(ISSUER, algorithms=frozenset({"none", "HS256"}))
    assert flaw(f"{segment({'alg': 'none'})}.{segment(claims())}.", invented) is Flaw.ALGORITHM


def test_an_ecdsa_signature_of_zeros_isis_refused() -> None:
    """CVE-2022-21449: r = s = 0 verified for any key."""
    signed = f"{segment({'alg': 'ES256', 'kid': 'ES256'})}.{segment(claims())}"
    assert flaw(f"{signed}.{encode_base64url(bytes(64))}") is Flaw.SIGNATURE


def test_an_ecdsa_signature_in_der_isis_refused() -> None:
    signed = f"{segment({'alg': 'ES256', 'kid': 'ES256'})}.{segment(claims())}"
    der = EC_KEYS["ES256"].sign(signed.encode(), ECDSA(SHA256()))
    assert flaw(f"{signed}.{encode_base64url(der)}") is Flaw.SIGNATURE


# The header


@pytest.mark.parametrize("value", [["exp"], [], ["b64"], "exp", None, ["http://example.com/UNDEFINED"]])
def test_crit_is_refused_whatever_it_asks_for(value: object) -> None:
    assert flaw(token(header={"crit": value, "http://example.com/UNDEFINED": 1})) is Flaw.CRITICAL


@pytest.mark.parametrize("name", ["b64", "zip", "enc"])
def test_what_changes_the_meaning_of_the_payload_isis_refused(name: str) -> None:
    assert flaw(token(header={name: False})) is Flaw.CRITICAL


def test_the_type_is_held_where_it_is_asked_for() -> None:
    access = Expectations(ISSUER, types=frozenset({"at+jwt"}))
    assert flaw(token(), access) is Flaw.TYPE
    assert flaw(token(header={"typ": "dpop+jwt"}), access) is Flaw.TYPE
    accept(token(header={"typ": "at+jwt"}), access)
    accept(token(header={"typ": "application/AT+JWT"}), access)


# Base64 and JSON


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("change", ["{}=", "{}==", "{}\n", " {}", "{}+", "{}/", "{}.", "!{}", "{}\u00e9"])
def test_base64_malleability_no_second_spelling_is_accepted(part: int, change: str) -> None:
    segments = token().split(".")
    segments[part] = change.format(segments[part])
    assert flaw(".".join(segments)) is Flaw.MALFORMED


def test_base64_malleability_a_tail_that_is_not_canonical_isis_refused() -> None:
    """Of the last character of a 256-byte signature only two bits count."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    head, last = (text := token())[:-1], text[-1]
    accepted = [one for one in alphabet if not is_refused(head + one)]
    assert accepted == [last]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"iss":"https://issuer.example","sub":"alice","sub":"root","aud":"shop"}',
        b'{"iss":"https://issuer.example","aud":"shop","\\u0069ss":"https://evil.example"}',
        b'{"iss":"https://issuer.example","aud":"shop","x":{"a":1,"a":2}}',
        b'{"iss":"https://issuer.example","aud":"shop","exp":NaN}',
        b'{"iss":"https://issuer.example","aud":"shop","exp":Infinity}',
        b'{"iss":"https://issuer.example","aud":"shop","exp":1e999}',
        b'{"iss":"https://issuer.example","aud":"shop","exp":' + b"9" * 4301 + b"}",
        b'{"iss":"https://issuer.example","aud":"shop","x":"\\ud800"}',
        b'{"iss":"https://issuer.example","aud":"shop","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"iss":"https://issuer.example","aud":"shop","x":' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}",
        b'\xef\xbb\xbf{"iss":"https://issuer.example","aud":"shop"}',
        '{"iss":"https://issuer.example","aud":"shop"}'.encode("utf-16"),
        b'{"iss":"https://issuer.example","aud":"shop"}{}',
        b'{"iss":"https://issuer.example","aud":"shop",}',
        b'{"iss":"https://issuer.example","aud":"shop","x":"\xff"}',
        b"[]",
        b'"text"',
        b"",
    ],
)
def test_json_malleability_what_has_two_readings_or_none_isis_refused(payload: bytes) -> None:
    assert flaw(token(payload)) in {Flaw.MALFORMED, Flaw.TOO_LARGE}


def test_duplicate_members_of_the_header_areis_refused() -> None:
    assert flaw(token(header=b'{"alg":"none","alg":"RS256","kid":"rsa"}')) is Flaw.MALFORMED


def test_deep_brackets_inside_text_are_no_nesting() -> None:
    assert accept(token(claims(x='[{"\\' * 100))).claims["x"] == '[{"\\' * 100


@pytest.mark.parametrize(
    "text", ["", ".", "..", "...", "a.b", "a.b.c.d.e", "ey.ey.ey", "\ud800.a.b", "é.é.é"]
)
def test_what_is_no_token_isis_refused(text: str) -> None:
    assert flaw(text) is Flaw.MALFORMED


def test_a_token_beyond_the_cap_is_refused_unread() -> None:
    assert flaw(token(claims(x="a" * MAX_TOKEN_LENGTH))) is Flaw.TOO_LARGE


# Claims


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"iss": "https://issuer.example/"}, Flaw.ISSUER),
        ({"iss": "HTTPS://issuer.example"}, Flaw.ISSUER),
        ({"iss": None}, Flaw.ISSUER),
        ({"iss": ["https://issuer.example"]}, Flaw.CLAIM),
        ({"aud": None}, Flaw.AUDIENCE),
        ({"aud": []}, Flaw.AUDIENCE),
        ({"aud": "Shop"}, Flaw.AUDIENCE),
        ({"aud": "shop/"}, Flaw.AUDIENCE),
        ({"aud": ["other", "shopping"]}, Flaw.AUDIENCE),
        ({"aud": ["shop", 5]}, Flaw.CLAIM),
        ({"aud": {"shop": 1}}, Flaw.CLAIM),
        ({"sub": 5}, Flaw.CLAIM),
        ({"azp": []}, Flaw.CLAIM),
        ({"exp": NOW_S - 60}, Flaw.EXPIRED),
        ({"exp": 0}, Flaw.EXPIRED),
        ({"exp": -1e300}, Flaw.EXPIRED),
        ({"exp": str(NOW_S + 60)}, Flaw.CLAIM),
        ({"exp": True}, Flaw.CLAIM),
        ({"exp": [NOW_S + 60]}, Flaw.CLAIM),
        ({"nbf": NOW_S + 61}, Flaw.NOT_YET_VALID),
        ({"nbf": "0"}, Flaw.CLAIM),
        ({"iat": NOW_S + 61}, Flaw.NOT_YET_VALID),
        ({"iat": {}}, Flaw.CLAIM),
    ],
)
def test_a_claim_that_does_not_hold_isis_refused(changes: dict[str, object], expected: Flaw) -> None:
    assert flaw(token(claims(**changes))) is expected


def test_a_null_time_is_no_absent_time() -> None:
    assert flaw(token({**claims(), "exp": None})) is Flaw.CLAIM


def test_clocks_may_differ_by_the_skew_and_no_more() -> None:
    accept(token(claims(exp=NOW_S - 59.5, nbf=NOW_S + 60, iat=NOW_S + 60)))
    strict = Expectations(ISSUER, skew_s=0)
    assert flaw(token(claims(exp=NOW_S)), strict) is Flaw.EXPIRED
    accept(token(claims(exp=NOW_S + 0.5, nbf=NOW_S, iat=NOW_S)), strict)


def test_an_expiry_may_be_demanded() -> None:
    assert accept(token(claims(exp=None))).expires_at_s == float("inf")
    assert flaw(token(claims(exp=None)), Expectations(ISSUER, require_expiry=True)) is Flaw.CLAIM


def test_any_audience_of_several_suffices_and_none_asked_accepts_any() -> None:
    assert accept(token(claims(aud=["other", AUDIENCE]))).audiences == {"other", AUDIENCE}
    accept(token(claims(aud="other")), Expectations(ISSUER))
    assert accept(token(claims(aud=None)), Expectations(ISSUER)).audiences == frozenset()


def test_a_token_without_subject_has_no_principal() -> None:
    assert accept(token(claims(sub=None))).principal == ""


def test_ten_thousand_claims_are_refused_by_size_and_two_thousand_are_read() -> None:
    assert flaw(token(claims(**{f"c{n}": n for n in range(10_000)}))) is Flaw.TOO_LARGE
    assert len(accept(token(claims(**{f"{n:x}": 0 for n in range(1000)}))).claims) == 1005


# Fuzz

GOOD = {name: token(algorithm=name, kid=kid) for name, kid in (("RS256", "rsa"), ("EdDSA", "ed25519"))}


@given(st.data())
def test_no_mutated_token_is_ever_accepted(data: st.DataObject) -> None:
    text = GOOD[data.draw(st.sampled_from(sorted(GOOD)))]
    characters = list(text)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(characters) - 1))
        change = data.draw(st.sampled_from(["replace", "insert", "delete", "swap"]))
        if change == "delete":
            del characters[at]
        elif change == "insert":
            characters.insert(at, data.draw(st.characters()))
        elif change == "replace":
            characters[at] = data.draw(st.sampled_from("AB.-_=+ /0az"))
        else:
            characters[at], characters[at - 1] = characters[at - 1], characters[at]
    mutated = "".join(characters)
    assert mutated == text or is_refused(mutated)


@given(st.text() | st.lists(st.binary(max_size=40), min_size=3, max_size=3))
def test_any_text_is_refused_without_another_exception(made: str | list[bytes]) -> None:
    text = made if isinstance(made, str) else ".".join(map(encode_base64url, made))
    assert is_refused(text)


@given(
    st.dictionaries(st.sampled_from(["iss", "sub", "aud", "exp", "nbf", "iat", "azp", "cnf"]), JSON),
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "b64"]), JSON),
)
def test_signed_nonsense_is_refused_or_true(payload: dict[str, object], header: dict[str, object]) -> None:
    head = {"alg": "EdDSA", "kid": "ed25519", **header}
    signed = f"{segment(head)}.{segment({**claims(), **payload})}"
    text = f"{signed}.{sign(signed, 'EdDSA', ED25519_KEY)}"
    if not is_refused(text):
        assert json.loads(json.dumps({**claims(), **payload}))["iss"] == ISSUER
        assert head["alg"] == "EdDSA"
        assert "crit" not in head
