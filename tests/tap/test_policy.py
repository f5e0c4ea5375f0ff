"""What is never to be captured is not, however its path is written; the proxy and the collector agree on it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_tap.core.exchange import Message, Node
from envoy_tap.core.policy import Policy
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction
from envoy_tap.core.session import SessionError
from envoy_tap.core.spec import as_object, requested, stored
from envoy_tap.policy_file import read_policy
from envoy_tap.slot.script import forbidden_patterns
from tests.tap.building import exchange
from tests.tap.lua import Lua

PATHS = ("/login", "/accounts/{id}/pin", "/admin/**", "/a.b-c/", "/")
POLICY = Policy(PATHS)
LUA = Lua()
R = LUA.library("redaction")
PATTERNS = LUA.runtime.table_from([each.encode() for path in PATHS for each in forbidden_patterns(path)])


def forbids(path: str) -> bool:
    found = POLICY.forbids_path(path.encode())
    assert R.forbids(path.encode(), PATTERNS) == found
    return found


@pytest.mark.parametrize(
    "path",
    [
        "/login",
        "/login?next=/",
        "/LOGIN",
        "//login",
        "/login/",
        "/./login",
        "/x/../login",
        "/%6cogin",
        "/login;v=1",
        "/..//login#x",
        "/\\login",
        "/accounts/7/pin",
        "/accounts/a%2Fb/pin",
        "/admin",
        "/admin/",
        "/admin/a/b",
        "/a.b-c",
        "/",
        "",
        "?",
    ],
)
def test_what_is_forbidden(path: str) -> None:
    assert forbids(path)


@pytest.mark.parametrize(
    "path", ["/logins", "/x/login", "/accounts/7/pins", "/accounts//pin", "/administer", "/aXb-c", "*"]
)
def test_what_is_not(path: str) -> None:
    assert not forbids(path)


@given(
    st.lists(
        st.sampled_from(
            [
                "/",
                "login",
                "Admin",
                "accounts",
                "pin",
                "..",
                ".",
                ";x",
                "%2f",
                "%6C",
                "%",
                "%zz",
                "\\",
                "%5C",
                "?",
                "#",
                "é",
            ]
        ),
        max_size=8,
    )
)
def test_the_proxy_and_the_collector_agree(parts: list[str]) -> None:
    forbids("".join(parts))


def test_an_exchange_without_a_path_is_kept_only_if_no_path_is_forbidden() -> None:
    assert not POLICY.allows(exchange(request=None))
    assert not POLICY.allows(exchange(Message()))
    assert Policy().allows(exchange(request=None))
    assert R.forbids(None, PATTERNS)


def test_whole_clusters_are_out() -> None:
    policy = Policy(never_clusters=("pay-*", "edge"))
    assert not policy.allows(exchange())
    assert not policy.allows_node(Node("x", "pay-1"))
    assert policy.allows_node(Node("edge", "shop"))


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        'never:\n  paths: [/login, "/a/{id}/**"]\n  headers: [X-SSN]\n  clusters: [pay-*]\n  sockets: true\n',
        "utf-8",
    )
    assert read_policy(path) == Policy(
        ("/login", "/a/{id}/**"), frozenset({"x-ssn"}), ("pay-*",), never_sockets=True
    )
    assert read_policy(None) == Policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "never:\n  path: [/a]\n",
            "policy.yaml:2:3: error: unknown key 'path' (never.path); did you mean 'paths'?",
        ),
        ("never:\n  paths: [login]\n", "policy.yaml:2:11: error: 'login' is not a path"),
        ("never:\n  paths: [/a/**/b]\n", "'**' is not a segment"),
        ("never:\n  headers: ['a b']\n", "'a b' is not a header name"),
        ("{}", "has no key never"),
        ("", "holds 0 documents"),
        ("never: [", "policy.yaml:"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidConfigurationError) as refused:
        read_policy(path)
    assert said in str(refused.value)
    with pytest.raises(InvalidConfigurationError, match="cannot be read"):
        read_policy(tmp_path / "none")


NEVER = frozenset({"x-ssn", "host", ":authority"})


def asked_for(predicate: str) -> object:
    asked = {
        "why": "INC-1",
        "predicate": predicate,
        "redaction": {"headers": ["x-acct"], "paths": ["a[*].pin"]},
    }
    return requested(asked, session_id="1", who="alice", now_s=0.0, never_headers=NEVER)


@pytest.mark.parametrize(
    ("predicate", "position", "told"),
    [
        ('header[x-ssn] ^= "123"', 0, "never lets x-ssn"),
        ("method=GET and not (header[X-SSN] exists)", 20, "never lets x-ssn"),
        ("response.header[x-ssn] ~ 1.*", 0, "never lets x-ssn"),
        ("authority=a", 0, "never lets :authority"),
        ("header[host] exists", 0, "never lets host"),
        ('path=/ or header[authorization] != "Bearer x"', 10, "header[authorization] is redacted"),
        ("response.header[set-cookie] *= sid", 0, "response.header[set-cookie] is redacted"),
        ("header[x-acct]=1", 0, "header[x-acct] is redacted"),
        ("request.json[user.Password] ^= a", 0, "request.json[user.Password] is redacted"),
        ("response.json[token.value]=1", 0, "response.json[token.value] is redacted"),
        ('request.json["a[3].pin"]=1', 0, "request.json[a[3].pin] is redacted"),
    ],
)
def test_no_predicate_finds_out_what_is_hidden(predicate: str, position: int, told: str) -> None:
    with pytest.raises(SessionError) as refused:
        asked_for(predicate)
    assert (refused.value.path, refused.value.position) == ("predicate", position)
    assert told in refused.value.message


@pytest.mark.parametrize(
    "predicate",
    [
        "header[authorization] exists and not header[cookie] exists",
        "request.json[password] exists",
        'header[x-user]=7 and request.json["a[0].id"]=1',
    ],
)
def test_whether_a_secret_is_there_may_be_asked(predicate: str) -> None:
    asked_for(predicate)


def test_a_policy_knows_the_host_by_envoys_name(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("never: {headers: [Host]}")
    policy = read_policy(tmp_path / "policy.yaml")
    assert policy.never_headers == {"host", ":authority"}
    assert Redactor(Redaction(), policy.never_headers, b"").header(":authority", b"a") == b"[redacted]"


@pytest.mark.parametrize(
    ("predicate", "told", "hint"),
    [
        ("authority=a", "authority is redacted", "leave this condition out"),
        ("header[host]=a", "header[host] is redacted", "ask only whether it is there: header[host] exists"),
    ],
)
def test_redaction_knows_the_host_by_envoys_name(predicate: str, told: str, hint: str) -> None:
    asked = {"why": "INC-1", "redaction": {"headers": ["Host", *(f"x-{number}" for number in range(63))]}}
    session = requested(asked, session_id="1", who="alice", now_s=0.0)
    assert Redactor(session.redaction, frozenset(), b"").header(":authority", b"a") == b"[redacted]"
    assert stored(as_object(session)) == session
    with pytest.raises(SessionError, match=re.escape(told)) as refused:
        requested({**asked, "predicate": predicate}, session_id="1", who="alice", now_s=0.0)
    assert hint in refused.value.hint
