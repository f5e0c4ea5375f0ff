"""What Python's own readers do to hostile input, each shown, and what is done here instead."""

import base64
import json
import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

import jwt
import pytest

from envoy_authz.commands.records import Unread, read_log
from envoy_authz.config import load_policies
from envoy_authz.core import Condition, Operation, Policy, PolicySet, Request, Rule, Source
from envoy_authz.core.bodies import Unreadable, read_json
from envoy_authz.core.paths import normalize
from envoy_authz.tokens import TokenError, parse_jwt
from envoy_authz.tokens.strict import decode_base64url, parse_object
from tests.authz.tokens.minting import claims, segment, token


def allows(rule: Rule, request: Request) -> bool:
    return PolicySet([Policy("p", rules=(rule,))]).decide(request).allowed


def test_urlsplit_takes_the_first_segment_for_a_host_and_we_do_not() -> None:
    assert urlsplit("//admin/x").path == "/x"
    assert normalize("//admin/x") == "//admin/x"
    assert not allows(Rule(operations=(Operation(paths=("/x",)),)), Request("GET", "//admin/x"))


def test_urlsplit_deletes_tabs_and_we_do_not() -> None:
    assert urlsplit("/ad\tmin").path == "/admin"
    assert normalize("/ad\tmin") == "/ad%09min"
    assert not allows(Rule(operations=(Operation(paths=("/admin",)),)), Request("GET", "/ad\tmin"))


@pytest.mark.parametrize("text", ["YW\nJj", "YW!Jj", "YWJjZB=="])
def test_base64_drops_illegal_characters_and_takes_padding_and_we_do_not(text: str) -> None:
    base64.urlsafe_b64decode(text)
    with pytest.raises(ValueError, match="base64url"):
        decode_base64url(text)


def test_base64_takes_tails_that_are_not_canonical_and_we_do_not() -> None:
    assert base64.urlsafe_b64decode("YWI=") == base64.urlsafe_b64decode("YWJ=") == b"ab"
    with pytest.raises(ValueError, match="canonical"):
        decode_base64url("YWJ")


def test_json_takes_the_last_of_two_members_and_we_take_neither() -> None:
    text = '{"sub": "alice", "sub": "root"}'
    assert json.loads(text) == {"sub": "root"}
    with pytest.raises(ValueError, match="twice"):
        parse_object(text)
    assert isinstance(read_json(text.encode()), Unreadable)


def test_json_takes_nan_and_we_do_not() -> None:
    assert json.loads('{"exp": NaN}')["exp"] != 0
    with pytest.raises(ValueError, match="not a JSON number"):
        parse_object('{"exp": NaN}')
    assert isinstance(read_json(b'{"exp": NaN}'), Unreadable)


def test_json_recurses_to_death_and_we_refuse() -> None:
    deep = '{"a":' * 100_000
    with pytest.raises(RecursionError):
        json.loads(deep)
    with pytest.raises(ValueError, match="nested too deep"):
        parse_object(deep)
    assert isinstance(read_json(deep.encode()), Unreadable)


def test_json_raises_on_a_number_of_4300_digits_and_we_refuse() -> None:
    text = '{"exp": 1' + "0" * 4300 + "}"
    with pytest.raises(ValueError, match="4300"):
        json.loads(text)
    with pytest.raises(ValueError, match="too long"):
        parse_object(text)
    assert isinstance(read_json(text.encode()), Unreadable)


def test_a_dollar_matches_before_a_line_break_and_no_pattern_of_ours_does(tmp_path: Path) -> None:
    assert re.match("^/admin$", "/admin\n")
    for paths in (("/admin",), ("/{*}",)):
        assert not allows(
            Rule(operations=(Operation(paths=paths, hosts=("h",)),)), Request("GET", "/admin", host="h\n")
        )
    assert not allows(
        Rule(when=(Condition("request.headers[x]", ("a",)),)),
        Request("GET", "/", request_headers={"x": "a\n"}),
    )
    file = tmp_path / "policy.yaml"
    head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: "
    file.write_text(head + '{name: "a\\n"}\nspec: {}\n')
    with pytest.raises(Exception, match="is not a name"):
        load_policies([file])


def test_an_address_mapped_into_ipv6_is_in_no_block_for_python_and_in_its_own_for_us() -> None:
    assert ip_address("::ffff:10.0.0.1") not in ip_network("10.0.0.0/8")
    rule = Rule((Source(ip_blocks=("10.0.0.0/8",)),))
    assert allows(rule, Request("GET", "/", source_address="::ffff:10.0.0.1"))
    assert not allows(rule, Request("GET", "/", source_address="::ffff:11.0.0.1"))


def test_the_kelvin_sign_lower_cases_to_k_and_is_none_for_us() -> None:
    assert "\u212aiosk.example".lower() == "kiosk.example"
    rule = Rule(operations=(Operation(hosts=("kiosk.example",)),))
    assert not allows(rule, Request("GET", "/", host="\u212aiosk.example"))


def test_an_unknown_crit_is_refused_whatever_the_library_does() -> None:
    text = token(
        claims(), header={"crit": ["http://example.com/UNDEFINED"], "http://example.com/UNDEFINED": True}
    )
    assert jwt.get_unverified_header(token())["alg"] == "RS256"
    with pytest.raises(TokenError, match="not supported"):
        parse_jwt(text)
    with pytest.raises(TokenError, match="not supported"):
        parse_jwt(f"{segment({'alg': 'none', 'crit': []})}.{segment({})}.")


def test_json_has_infinite_numbers_and_a_log_with_one_is_no_traceback(tmp_path: Path) -> None:
    entry = {
        "id": "1",
        "decision": "allow",
        "policy": "p",
        "rule": 0,
        "reason": "allowed_by_policy",
        "request": {"method": "GET", "path": "/", "host": "h"},
        "source": {"principal": "", "address": ""},
        "destination": {"port": float("inf")},
    }
    log = tmp_path / "log.json"
    log.write_text(json.dumps(entry) + "\n", "utf-8")
    unread = Unread()
    assert list(read_log((log,), unread)) == []
    assert unread.broken == 1
