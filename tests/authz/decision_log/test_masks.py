"""What of a decision is never written down."""

import pytest

from envoy_authz.decision_log import Masks
from envoy_authz.decision_log.shape import shown
from tests.authz.decision_log.records import ALLOWED, DENIED


@pytest.mark.parametrize(
    ("path", "written"),
    [
        ("/a/b", "/a/b"),
        ("/a?x=1&y=2", "/a?x=***&y=***"),
        ("/a?secret", "/a?***"),
        ("/a?", "/a?"),
        ("/a#access_token=s", "/a#access_token=***"),
        ("/a?x=1#token=s", "/a?x=***#token=***"),
        ("/a;session=s/b", "/a;session=***/b"),
        ("/public/..;/admin", "/public/..;/admin"),
        ("/a%3Ftoken=s", "/a%3Ftoken=***"),
        ("/a%253ftoken=s", "/a%253ftoken=***"),
    ],
)
def test_no_value_of_a_parameter_is_written_in_any_spelling(path: str, written: str) -> None:
    assert Masks().path(path) == written


@pytest.mark.parametrize(
    ("pattern", "text", "written"),
    [
        (r"\S+@\S+", "https://issuer/ann@shop.example x", "*** x"),
        (r"/users/(\d+)", "/users/42/x/users/7", "/users/***/x/users/***"),
        (r"(a)b(c)?", "ab abc", "***b ***b***"),
    ],
)
def test_what_the_groups_of_a_pattern_match_is_masked(pattern: str, text: str, written: str) -> None:
    assert Masks([pattern]).text(text) == written


def test_a_pattern_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        Masks(["("])


def test_a_pattern_that_would_run_away_does_not_hold_up_decisions() -> None:
    # Python's own would still be at it when the test times out.
    assert Masks([r"^(a+)+$"]).text("a" * 4096 + "b") == "a" * 4096 + "b"


def test_a_decision_is_written_whole_and_masked() -> None:
    assert shown(DENIED, Masks([r"ann@\S+"])) == {
        "time": "2027-01-15T08:00:00.125Z",
        "id": "0123456789abcdef",
        "decision": "deny",
        "policy": "shop/no-exports",
        "rule": 1,
        "reason": "denied_by_policy",
        "request": {"method": "GET", "path": "/export;v=***?token=***#frag=***", "host": "shop.example"},
        "source": {"principal": "spiffe://td/ns/shop/sa/web", "address": "203.0.113.7"},
        "tokens": ["https://issuer/***"],
        "reads": ["request.path", "request.headers[x-team]"],
        "attributes": {"request.headers[x-team]": ["blue", "***"]},
        "observed": [{"policy": "shop/shadow", "decision": "deny", "reason": "dry_run"}],
    }
    assert set(shown(ALLOWED, Masks())) == {
        *("time", "id", "decision", "policy", "rule", "reason", "request", "source")
    }
