"""Keys: exactly one by `kid`, never one that the token brings, and none that is weak."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.tokens import Flaw, parse_jwks
from envoy_authz.tokens.strict import encode_base64url
from tests.authz.tokens.judging import JSON, accept, flaw
from tests.authz.tokens.minting import EC_KEYS, OTHER_RSA_KEY, RSA_KEY, Source, jwks, public_jwk, token


def test_kid_tricks_an_unknown_kid_is_refused_and_asks_for_new_keys() -> None:
    source = Source()
    for kid in ("other", "", "../../dev/null", "rsa' OR '1'='1", "rsa\x00", "RSA", "rsa "):
        assert flaw(token(kid=kid, key=RSA_KEY), source=source) is Flaw.KEY_UNKNOWN
    assert source.wanted == 7


@pytest.mark.parametrize("kid", [1, None, ["rsa"], {"kid": "rsa"}, True])
def test_kid_tricks_a_kid_that_is_no_text_is_refused(kid: object) -> None:
    assert flaw(token(header={"kid": kid})) is Flaw.MALFORMED


def test_kid_tricks_two_keys_of_one_name_are_no_choice() -> None:
    twins = Source(jwks(public_jwk(RSA_KEY, kid="rsa"), public_jwk(OTHER_RSA_KEY, kid="rsa")))
    assert flaw(token(), source=twins) is Flaw.KEY_AMBIGUOUS


def test_a_token_without_kid_needs_exactly_one_key_for_its_algorithm() -> None:
    accept(token(kid=None))
    two = Source(jwks(public_jwk(RSA_KEY, kid="a"), public_jwk(OTHER_RSA_KEY, kid="b")))
    assert flaw(token(kid=None), source=two) is Flaw.KEY_AMBIGUOUS
    nameless = Source(jwks(public_jwk(RSA_KEY), public_jwk(OTHER_RSA_KEY, kid="b")))
    accept(token(kid="rsa"), source=nameless)


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "x5t"])
def test_a_key_that_the_token_brings_is_never_used(name: str) -> None:
    values: dict[str, Any] = {
        "jwk": public_jwk(OTHER_RSA_KEY, kid="rsa"),
        "jku": "https://evil.example/jwks",
        "x5u": "https://evil.example/cert",
        "x5c": ["MIIB"],
        "x5t": "AAAA",
    }
    header = {name: values[name]}
    assert flaw(token(key=OTHER_RSA_KEY, header=header)) is Flaw.SIGNATURE
    assert flaw(token(key=OTHER_RSA_KEY, header={**header, "kid": "evil"})) is Flaw.KEY_UNKNOWN
    accept(token(header=header))


def test_without_keys_nothing_is_accepted() -> None:
    source = Source(None)
    assert flaw(token(), source=source) is Flaw.KEYS_UNAVAILABLE
    assert source.wanted == 1
    assert flaw(token(), source=Source(jwks())) is Flaw.KEY_UNKNOWN


@pytest.mark.parametrize(
    ("member", "value", "why"),
    [
        ("use", "enc", "its use is not sig"),
        ("key_ops", ["sign"], "without verify"),
        ("key_ops", "verify", "without verify"),
        ("alg", "HS256", "no algorithm"),
        ("alg", "none", "no algorithm"),
        ("alg", "RSA-OAEP", "no algorithm"),
        ("kty", "oct", "not RSA, EC or OKP"),
        ("kty", "EC", "no algorithm"),
        ("k", "AAAA", "holds a secret"),
        ("d", "AAAA", "holds a secret"),
        ("n", "AQAB", "less than 2048"),
        ("n", "AQ=B", "no base64url"),
        ("e", "Aw", "weak exponent"),
        ("e", "AQ", "weak exponent"),
        ("e", "AQAA", "weak exponent"),
        ("e", 65537, "no text"),
        ("kid", 5, "no text"),
        ("use", 5, "no text"),
    ],
)
def test_a_key_that_must_not_be_used_is_skipped_and_told(member: str, value: object, why: str) -> None:
    keys = parse_jwks(jwks({**public_jwk(RSA_KEY, kid="rsa"), member: value}))
    assert keys.keys == ()
    assert len(keys.skipped) == 1
    assert why in keys.skipped[0]


def test_rsa_keys_below_2048_bits_are_refused() -> None:
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the test
    assert "less than 2048" in parse_jwks(jwks(public_jwk(short))).skipped[0]


@pytest.mark.parametrize(
    "change",
    [
        {"x": encode_base64url(bytes(32))},
        {"y": encode_base64url(b"\x01" * 31)},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
    ],
)
def test_a_point_that_is_not_on_its_curve_is_refused(change: dict[str, object]) -> None:
    assert parse_jwks(jwks({**public_jwk(EC_KEYS["ES256"]), **change})).keys == ()


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '{"keys": {}}', "{}", '{"keys": [], "keys": []}', "\xff", "{" * 99]
)
def test_what_is_no_jwk_set_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_jwks(text)


def test_the_thumbprint_is_that_of_rfc_7638() -> None:
    example = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECP"
        "ebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY36"
        "8QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lF"
        "d2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    (key,) = parse_jwks(jwks(example)).keys
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


MEMBERS = ["kty", "n", "e", "crv", "x", "y", "alg", "use", "kid", "key_ops", "d"]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(MEMBERS), JSON | st.sampled_from(["RSA", "EC", "OKP", "AQAB", "P-256"])
        )
    )
)
def test_any_key_set_is_read_or_skipped_or_an_error(entries: list[dict[str, object]]) -> None:
    good = public_jwk(RSA_KEY, kid="good")
    mixed = [{**good, **entry} for entry in entries]
    try:
        keys = parse_jwks(json.dumps({"keys": [good, *entries, *mixed]}))
    except ValueError:
        return  # a number or a nesting beyond the bounds
    assert "good" in {key.key_id for key in keys.keys}
    assert len(keys.keys) + len(keys.skipped) == 1 + 2 * len(entries)
