"""Judging tokens in tests: accepted, or the flaw they were refused for."""

import pytest
from hypothesis import strategies as st

from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.tokens import Expectations, Flaw, TokenError, parse_jwt, verify
from tests.authz.tokens.minting import AUDIENCE, ISSUER, NOW_S, Source

EXPECTED = Expectations(ISSUER, frozenset({AUDIENCE}))


def accept(text: str, expected: Expectations = EXPECTED, source: Source | None = None) -> VerifiedToken:
    return verify(parse_jwt(text), source or Source(), expected, NOW_S)


def flaw(text: str, expected: Expectations = EXPECTED, source: Source | None = None) -> Flaw:
    with pytest.raises(TokenError) as caught:
        accept(text, expected, source)
    return caught.value.flaw


def is_refused(text: str) -> bool:
    try:
        accept(text)
    except TokenError:
        return True
    return False


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
