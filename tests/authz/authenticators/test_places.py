"""Where tokens are found, and that nothing an upstream could read as a token goes unverified."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.authenticators.model import HeaderPlace, JwtRule
from envoy_authz.authenticators.places import Places, split_cookies, without_cookies
from envoy_authz.core.request import Request
from envoy_authz.tokens.flaws import Flaw, TokenError

DEFAULT = JwtRule("https://issuer.example")


def find(rule: JwtRule, path: str = "/", **headers: str) -> list[tuple[str, str]]:
    request = Request("GET", path, request_headers={k.replace("_", "-"): v for k, v in headers.items()})
    places = Places([(rule, "rule")])
    return [(place.name, text) for place, text in places.find(request)]


def ambiguous(rule: JwtRule, path: str = "/", **headers: str) -> bool:
    with pytest.raises(TokenError) as caught:
        find(rule, path, **headers)
    return caught.value.flaw is Flaw.AMBIGUOUS


def test_without_places_of_its_own_a_token_is_a_bearer_or_a_query_parameter() -> None:
    assert find(DEFAULT, authorization="Bearer a.b.c") == [("authorization", "a.b.c")]
    assert find(DEFAULT, "/x?access_token=a.b.c&y=1") == [("access_token", "a.b.c")]
    assert len(find(DEFAULT, "/x?access_token=a.b.c", authorization="Bearer d.e.f")) == 2
    own = JwtRule("i", from_cookies=("session",))
    assert find(own, "/x?access_token=a.b.c", authorization="Bearer d.e.f") == []


@pytest.mark.parametrize("value", ["Basic YTpi", "Bearertoken", "bearers a", "Bearer-x a", "", "Negotiate x"])
def test_another_scheme_is_no_token(value: str) -> None:
    assert find(DEFAULT, authorization=value) == []


@pytest.mark.parametrize(
    "value", ["bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c", "DPoP a.b.c", "dpop a.b.c"]
)
def test_the_scheme_counts_in_any_case_of_letters(value: str) -> None:
    assert find(DEFAULT, authorization=value) == [("authorization", "a.b.c")]


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer\ta.b.c", "Bearer,a.b.c", "Bearer \t a", "Bearer=a", "Bearer\x00a"]
)
def test_what_follows_the_scheme_otherwise_is_found_and_can_be_no_token(value: str) -> None:
    ((_name, text),) = find(DEFAULT, authorization=value)
    assert not text or not text[0].isalnum()


def test_duplicate_headers_a_second_line_cannot_hide_a_token() -> None:
    assert ambiguous(DEFAULT, authorization="Basic YTpi,Bearer a.b.c")
    assert ambiguous(DEFAULT, authorization="Basic YTpi, bearer a.b.c")
    assert find(DEFAULT, authorization="Bearer a.b.c,Bearer d.e.f") == [
        ("authorization", "a.b.c,Bearer d.e.f")
    ]
    assert find(DEFAULT, authorization='Digest username="x", realm="y"') == []


def test_the_longest_prefix_that_fits_is_meant() -> None:
    rule = JwtRule(
        "i", from_headers=(HeaderPlace("x-jwt"), HeaderPlace("x-jwt", "JWT "), HeaderPlace("x-b", "t="))
    )
    assert find(rule, x_jwt="JWT a.b.c", x_b="t=d.e.f") == [("x-jwt", "a.b.c"), ("x-b", "d.e.f")]
    assert find(rule, x_jwt="a.b.c") == [("x-jwt", "a.b.c")]


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/x?access_token=a.b.c#access_token=d", ["a.b.c"]),
        ("/x#?access_token=a.b.c", []),
        ("//host/x?access_token=a.b.c", ["a.b.c"]),
        ("/x?access_token=a%2Eb.c", ["a.b.c"]),
        ("/x?access_token=", [""]),
        ("/x?access_token", [""]),
        ("/x?y=?access_token=a", []),
        ("/x?Access_token=a", []),
        ("/access_token=a", []),
        ("/x?%zz=a&access_token=a.b.c", ["a.b.c"]),
    ],
)
def test_the_query_is_cut_by_hand(path: str, found: list[str]) -> None:
    assert [text for _name, text in find(DEFAULT, path)] == found


def test_a_parameter_given_twice_or_disguised_is_refused() -> None:
    assert ambiguous(DEFAULT, "/x?access%5Ftoken=a.b.c")
    assert ambiguous(DEFAULT, "/x?%61ccess_token=a.b.c")
    assert ambiguous(DEFAULT, "/x?access_token=a.b.c&access_token=d.e.f")
    assert ambiguous(DEFAULT, "/x?access_token=a.b.c&access%5ftoken=d.e.f")


def test_cookies_are_taken_apart_by_hand() -> None:
    rule = JwtRule("i", from_cookies=("session",))
    assert find(rule, cookie="a=b; session=a.b.c; c=d") == [("session", "a.b.c")]
    assert find(rule, cookie="a=b;session = a.b.c") == [("session", "a.b.c")]
    assert find(rule, cookie="xsession=a; Session=b; session") == []
    assert find(rule, cookie='session="a.b.c"') == [("session", '"a.b.c"')]
    assert ambiguous(rule, cookie="session=a.b.c; session=d.e.f")
    assert ambiguous(rule, cookie="session=a.b.c,session=d.e.f")


def test_cookies_are_removed_one_by_one() -> None:
    assert without_cookies("a=b; session=x; c=d", ["session"]) == "a=b; c=d"
    assert without_cookies("session=x", ["session"]) == ""
    assert without_cookies("session =x;a=b;;", ["session"]) == "a=b"


@given(st.text(), st.text(), st.text())
def test_nothing_makes_it_raise_anything_else(path: str, authorization: str, cookie: str) -> None:
    rule = JwtRule(
        "i", from_headers=(HeaderPlace("authorization", "Bearer "),), from_params=("t",), from_cookies=("t",)
    )
    flaw = None
    try:
        find(rule, path, authorization=authorization, cookie=cookie)
    except TokenError as error:
        flaw = error.flaw
    assert flaw in {None, Flaw.AMBIGUOUS}
    assert all(isinstance(pair, tuple) for pair in split_cookies(cookie))
