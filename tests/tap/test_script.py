"""The script holds what a target says as data: no string of it can become code. (What Lua makes of it: test_envoy.)"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Node
from envoy_tap.core.policy import Policy
from envoy_tap.core.predicate import Condition, Field, Op, any_of
from envoy_tap.core.predicate.lua import quoted
from envoy_tap.core.redaction.rules import Redaction, Style
from envoy_tap.core.session import Session
from envoy_tap.slot.script import Setup, render
from tests.tap.building import NODE, session
from tests.tap.lua import Lua
from tests.tap.predicates import combined, early_conditions, late_conditions

LUA = Lua()

# What a Lua 5.1 string literal is made of here (manual, 2.1): letters, digits and three-digit decimal escapes.
LITERAL = re.compile(r'"((?:[0-9A-Za-z]|\\(?:[01][0-9]{2}|2[0-4][0-9]|25[0-5]))*)"')
HOSTILE = [
    '"',
    "\\",
    '\\"',
    "]]",
    "--[[",
    "\n",
    "\r\n",
    "\0",
    "\0001",
    "1\0012",
    "é",
    "\u2028",
    "\U0001d51e",
    "@CLUSTER@",
    "@TAP_ID@",
    "@",
    '" .. os.exit() .. "',
    "%1 %%",
    r"\1 \g<0>",
]


def evaluated(literal: str) -> bytes:
    """Return what Lua reads in *literal*."""
    found = LITERAL.fullmatch(literal)
    assert found is not None, literal
    return re.sub(rb"\\([0-9]{3})", lambda escape: bytes([int(escape[1])]), found[1].encode())


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_literal_is_exactly_its_text(text: str) -> None:
    assert evaluated(quoted(text)) == text.encode(errors="replace")


@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_a_hostile_text_is_exactly_itself(text: str) -> None:
    assert evaluated(quoted(text)) == text.encode()


printable = st.text(min_size=1, max_size=40).filter(str.isprintable)
hostile = st.text(max_size=40) | st.sampled_from(HOSTILE)
sendable = hostile.map(lambda text: re.sub("[\0\r\n\ud800-\udfff]", "", text))
names = st.frozensets(
    printable | st.sampled_from([text for text in HOSTILE if text.isprintable()]), max_size=3
)
sessions = st.builds(
    Session,
    id=st.sampled_from(HOSTILE),
    who=hostile,
    why=hostile,
    predicate=st.builds(
        lambda header, expr: any_of(Condition(Field("header", "x-a"), Op.EQUALS, header), expr),
        sendable,
        combined(early_conditions | late_conditions),
    ),
    created_at_s=st.just(0.0),
    expires_at_s=st.integers(1, (1 << 53) - 1),
    redaction=st.builds(
        Redaction, headers=names, query=names, names=names, paths=st.just(frozenset({'a[*]."--', "x.\n"}))
    ),
)
nodes = st.builds(Node, hostile, hostile)
setups = st.builds(Setup, cluster_name=printable, policy=st.just(Policy(("/a.b/{id}/**", '/x"]]--'))))

# What a script's head is made of, once its literals are taken out.
WORDS = (
    "local function return end not and or nil true false P r SESSIONS NEVER_PATHS CLUSTER NODE_ID NODE_CLUSTER is begins"
    " contains like exists below within bit place header method path authority grpc_method principal address trace_id tap_id"
    " expires_at body_cap rate headers query names paths card email jwt userinfo may decided"
)
CODE = re.compile(rf"\b(?:{'|'.join(WORDS.split())}|[0-9]+)\b|\.\.|[.,:={{}}()\[\]]|\s+")


def head(script: str) -> str:
    library_end = script.index("local CLUSTER")
    return script[library_end : script.index("-- Sends each targeted")]


@given(st.lists(sessions, max_size=3), nodes, setups)
def test_what_comes_from_outside_is_in_literals_only(found: list[Session], node: Node, setup: Setup) -> None:
    script = render(found, node, setup)
    assert script.replace(head(script), "") == render([], NODE, Setup()).replace(
        head(render([], NODE, Setup())), ""
    )
    code = LITERAL.sub("", head(script))
    assert head(script).isascii()
    assert CODE.sub("", code) == ""
    assert load(script.encode())


def load(script: bytes) -> bool:
    loaded = LUA.runtime.globals().loadstring(script)
    assert not isinstance(loaded, tuple), loaded
    return loaded is not None


def test_equal_sessions_render_equal_scripts() -> None:
    both = [session("b"), session("a", redaction=Redaction(headers=frozenset({"x", "y", "z"})))]
    again = [session("a", redaction=Redaction(headers=frozenset({"z", "y", "x"}))), session("b")]
    assert render(both, NODE, Setup()) == render(again, NODE, Setup())


def test_with_placeholders_the_script_redacts_only_what_is_never_captured() -> None:
    hmac = session(redaction=Redaction(style=Style.HMAC))
    script = head(render([hmac], NODE, Setup(policy=Policy(never_headers=frozenset({"ssn"})))))
    assert 'headers = {["ssn"] = true}' in script
    assert quoted("authorization") not in script
