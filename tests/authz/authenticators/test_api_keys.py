"""API keys: kept as hashes, compared in constant time, never passed on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.authenticators.api_keys import ApiKey, ApiKeyAuthenticator, hash_api_key, new_api_key
from envoy_authz.core.authentication import Authentication
from envoy_authz.core.request import Request

KEY, OLD_KEY = new_api_key(), new_api_key()
AUTHENTICATOR = ApiKeyAuthenticator(
    [
        ApiKey("billing", hash_api_key(KEY), {"team": "money", "sub": "forged", "iss": "forged"}),
        ApiKey("old", hash_api_key(OLD_KEY), expires_at_s=1000.0),
    ],
    clock=lambda: 1000.0,
)


def send(key: str | None) -> Authentication:
    return AUTHENTICATOR.authenticate(
        Request("GET", "/", request_headers={} if key is None else {"x-api-key": key})
    )


def test_a_key_gives_its_owner_and_is_removed() -> None:
    found = send(KEY)
    (verified,) = found.tokens
    assert verified.principal == "api-key/billing"
    assert verified.claims == {"team": "money", "iss": "api-key", "sub": "billing"}
    assert found.remove_headers == ("x-api-key",)


def test_no_key_passes() -> None:
    assert send(None).refusal is None
    assert send(None).tokens == ()


@pytest.mark.parametrize(
    "key",
    ["", "x", KEY + "x", KEY[:-1], f"{KEY},{KEY}", hash_api_key(KEY), OLD_KEY, "x" * 9999],
    ids=lambda key: f"{len(key)} characters",
)
def test_another_key_is_refused_without_a_word_of_it(key: str) -> None:
    refusal = send(key).refusal
    assert refusal is not None
    assert refusal.reason == "inactive"
    assert refusal.www_authenticate == 'ApiKey realm="envoy-authz", header="x-api-key"'


def test_nothing_that_is_kept_is_a_key() -> None:
    kept = str([(name, getattr(AUTHENTICATOR, name)) for name in vars(AUTHENTICATOR)])
    assert KEY not in kept
    assert OLD_KEY not in kept


@pytest.mark.parametrize(
    "digest", ["", "00", "zz", hash_api_key(KEY)], ids=["empty", "short", "no hex", "twice"]
)
def test_a_digest_that_is_none_or_given_twice_is_an_error(digest: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        ApiKeyAuthenticator([ApiKey("a", hash_api_key(KEY)), ApiKey("b", digest)])


@given(st.text())
def test_any_text_is_refused(key: str) -> None:
    assert send(key).refusal is not None
