"""A target that could match nothing, or that no proxy could take, is refused where it is made."""

from typing import Any

import pytest

from envoy_tap.slot.target import MAX_BODY_CAP_BYTES, PathMatch, Target


def test_the_least_target_needs_a_name_and_an_end() -> None:
    target = Target("tap-1", 1_000_000)
    assert target.body_cap_bytes == 64 * 1024
    assert {"authorization", "cookie", "set-cookie"} <= target.redacted_headers


def test_everything_may_be_given() -> None:
    Target(
        tap_id="bestellungen ß @CLUSTER@ \"'",
        expires_at_s=1 << 52,
        method="M-SEARCH",
        path=PathMatch('/%C3%A9"', is_prefix=True),
        authority="[::1]:8443",
        header=("X-User", 'é "\\\t'),
        body_cap_bytes=0,
        redacted_headers=frozenset({"X-Secret"}),
        cluster_name="outbound|9393||tap.svc",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"tap_id": ""},
        {"tap_id": "x" * 257},
        {"tap_id": "a\nb"},
        {"tap_id": "a\0"},
        {"tap_id": "\ud800"},
        {"cluster_name": ""},
        {"cluster_name": "a\r\nb"},
        {"expires_at_s": 0},
        {"expires_at_s": -1},
        {"expires_at_s": 1 << 53},
        {"body_cap_bytes": -1},
        {"body_cap_bytes": MAX_BODY_CAP_BYTES + 1},
        {"method": ""},
        {"method": "GET "},
        {"authority": ""},
        {"authority": "exämple.org"},
        {"authority": "a b"},
        {"header": ("", "x")},
        {"header": (":path", "/")},
        {"header": ("x y", "x")},
        {"header": ("x", "a\nb")},
        {"header": ("x", "a\0")},
        {"header": ("x", "\udcff")},
        {"redacted_headers": frozenset({"a b"})},
        {"redacted_headers": frozenset({"x\n"})},
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Target(**{"tap_id": "tap-1", "expires_at_s": 1, **wrong})


@pytest.mark.parametrize("path", ["", "orders", "/a?b=c", "/a\n", "/a b", "/é", "/\0", "/\udcff"], ids=repr)
def test_a_path_that_no_request_has_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        PathMatch(path)
