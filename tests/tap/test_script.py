"""The script holds what a target says as data: no string of it can become code. (What Lua makes of it: test_envoy.)"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Node
from envoy_tap.slot.script import quoted, render
from envoy_tap.slot.target import PathMatch, Target
from tests.tap.building import NODE

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
sendable = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=40)
targets = st.builds(
    Target,
    tap_id=printable | st.sampled_from([text for text in HOSTILE if text.isprintable()]),
    expires_at_s=st.integers(1, (1 << 53) - 1),
    method=st.none() | st.from_regex(r"[!#$%&'*+.^_`|~A-Za-z-]+", fullmatch=True),
    path=st.none() | st.builds(PathMatch, st.from_regex(r"/[!->@-~]*", fullmatch=True), st.booleans()),
    authority=st.none() | st.from_regex(r"[!-~]+", fullmatch=True),
    header=st.none() | st.tuples(st.just("x-a"), sendable),
    redacted_headers=st.frozensets(st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", fullmatch=True)),
    cluster_name=printable,
)
nodes = st.builds(Node, st.text(max_size=40) | st.sampled_from(HOSTILE), st.text(max_size=40))


@given(targets, nodes)
def test_a_target_changes_nothing_but_literals(target: Target, node: Node) -> None:
    head, _, body = render(target, node).partition("local NAMESPACE")
    assert body == render(Target("t", 1), NODE).partition("local NAMESPACE")[2]
    assert head.isascii()
    assert "@" not in head
    values = r'(?:nil|true|false|[0-9]+|"(?:[0-9A-Za-z]|\\[0-9]{3})*"|\{.*\})'
    for line in head.splitlines():
        assert re.fullmatch(rf"--.*|local [A-Z_]+(, [A-Z_]+)* = {values}(, {values})*|", line), line


@given(targets, nodes)
def test_what_a_target_says_stands_in_the_script(target: Target, node: Node) -> None:
    values = assigned(render(target, node))
    assert evaluated(values["TAP_ID"]) == target.tap_id.encode()
    assert evaluated(values["CLUSTER"]) == target.cluster_name.encode()
    assert evaluated(values["NODE_ID"]) == node.id.encode(errors="replace")
    assert evaluated(values["NODE_CLUSTER"]) == node.cluster.encode(errors="replace")
    assert int(values["EXPIRES_AT"]) == target.expires_at_s
    assert int(values["BODY_CAP"]) == target.body_cap_bytes
    for name, value in {
        "METHOD": target.method,
        "AUTHORITY": target.authority and target.authority.lower(),
        "PATH": target.path and target.path.value,
        "HEADER": target.header and target.header[0],
        "HEADER_VALUE": target.header and target.header[1],
    }.items():
        assert (None if values[name] == "nil" else evaluated(values[name]).decode()) == value


def test_names_of_headers_are_in_lower_case() -> None:
    target = Target("t", 1, header=("X-User", "V"), redacted_headers=frozenset({"X-Secret", "A"}))
    values = assigned(render(target, NODE))
    assert evaluated(values["HEADER"]) == b"x-user"
    assert evaluated(values["HEADER_VALUE"]) == b"V"
    assert values["REDACTED"] == f"{{[{quoted('a')}] = true, [{quoted('x-secret')}] = true}}"


def test_equal_targets_render_equal_scripts() -> None:
    names = [f"x-{number}" for number in range(20)]
    first = render(Target("t", 1, redacted_headers=frozenset(names)), NODE)
    assert first == render(Target("t", 1, redacted_headers=frozenset(reversed(names))), NODE)


def assigned(script: str) -> dict[str, str]:
    """Return the values at the head of *script* by the names of its locals; no literal holds a comma or a space."""
    values: dict[str, str] = {}
    for line in script.partition("local NAMESPACE")[0].splitlines():
        if line.startswith("local REDACTED = "):
            values["REDACTED"] = line.removeprefix("local REDACTED = ")
        elif line.startswith("local "):
            names, _, given_values = line.removeprefix("local ").partition(" = ")
            values |= dict(zip(names.split(", "), given_values.split(", "), strict=True))
    return values
