"""SPIFFE IDs: what is one, and that none has a second spelling."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.identity.spiffe import InvalidSpiffeIdError, SpiffeId, TrustDomains, parse_spiffe_id

LONGEST = "spiffe://a/" + "b" * (2048 - 11)


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://cluster.local/ns/shop/sa/web",
        "spiffe://a",
        "spiffe://a-b_c.9/X.Y-Z_0",
        "spiffe://a/...",
        "spiffe://" + "d" * 255 + "/x",
        LONGEST,
    ],
)
def test_an_identity_is_read_and_written_as_it_was(text: str) -> None:
    assert str(parse_spiffe_id(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "spiffe:",
            "spiffe:/",
            "spiffe://",
            "spiffe:///x",
            "https://a/b",
            "SPIFFE://a/b",
            "spiffe//a/b",
        ),
        *(
            "spiffe://A/b",
            "spiffe://a:80/b",
            "spiffe://u@a/b",
            "spiffe://[::1]/b",
            "spiffe://ä/b",
            "spiffe://a b/c",
        ),
        *(
            "spiffe://a/",
            "spiffe://a//b",
            "spiffe://a/b/",
            "spiffe://a/./b",
            "spiffe://a/../b",
            "spiffe://a/b/..",
        ),
        *(
            "spiffe://a/%62",
            "spiffe://a/b%2Fc",
            "spiffe://%61/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a?b",
        ),
        *(
            "spiffe://a/b\n",
            "spiffe://a\n/b",
            " spiffe://a/b",
            "spiffe://a/b\x00",
            "spiffe://a/ä",
            "spiffe://a\\b",
        ),
        *("spiffe://" + "d" * 256, LONGEST + "b", "spiffe://a/\u212a"),
    ],
)
def test_what_is_none_is_refused_without_a_word_of_it(text: str) -> None:
    with pytest.raises(InvalidSpiffeIdError) as caught:
        parse_spiffe_id(text)
    assert len(text) < 5 or text not in str(caught.value)


def test_an_alias_is_read_as_its_domain() -> None:
    domains = TrustDomains({"old.example": "example", "older.example": "example"})
    assert domains.principal("spiffe://old.example/ns/a") == SpiffeId("example", "/ns/a")
    assert domains.principal("spiffe://example/ns/a") == SpiffeId("example", "/ns/a")
    assert domains.principal("spiffe://other/ns/a") == SpiffeId("other", "/ns/a")


@pytest.mark.parametrize("text", ["", "shop.example", "CN=spiffe://a/b", "spiffe://a/b/"])
def test_a_principal_that_is_a_dns_name_or_a_subject_is_no_identity(text: str) -> None:
    assert TrustDomains().principal(text) is None


def test_aliases_are_one_step_and_valid_names() -> None:
    with pytest.raises(ValueError, match="another alias"):
        TrustDomains({"a": "b", "b": "c"})
    with pytest.raises(InvalidSpiffeIdError):
        TrustDomains({"A": "b"})


@given(st.text() | st.text().map(lambda text: f"spiffe://{text}"))
def test_any_text_is_an_identity_of_that_spelling_or_refused(text: str) -> None:
    try:
        assert str(parse_spiffe_id(text)) == text
    except InvalidSpiffeIdError:
        assert TrustDomains().principal(text) is None
