"""Redaction passes over what holds no secret, and gives a body up whose secrets it would look for too long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction
from tests.tap.redacting import MASKED, lua_body

json_pieces = st.sampled_from(
    [
        *'[]{}[]{},,,::" \n1',
        "0,",
        "[],",
        '{"a": 1},',
        '"a":',
        '"b": {"c": [2, "x"]},',
        '"password":',
        '"Token" :',
        '"pin":',
        '"order":',
        '"items":',
        '"x":',
        '"a\\"b"',
        '"\\',
        "null",
        '"TOKEN": [',
        '"\u043f\u0430\u0440\u043e\u043b\u044c":',
        '"4111111111111111"',
        "[" * 60,
        "]" * 58,
    ]
)


@given(st.sampled_from(["", "[", '{"a": [', '{"order": {"items": [']), st.lists(json_pieces, max_size=40))
def test_what_is_passed_over_at_once_is_what_the_proxy_reads_token_by_token(
    start: str, rest: list[str]
) -> None:
    text = (start + "".join(rest)).encode()
    for content_type in (b"application/json", b"text/plain"):
        assert MASKED.body(text, content_type) == lua_body(text, content_type, cut=False)


@pytest.mark.parametrize(
    "repeated",
    [
        b"0,",
        b"[],",
        b'{"a": [1, {"b": "x"}]},',
        b'"a\\"b",',
        b'{"password1": 1},',
        b'{"z": {"y": [[1, 2]]}},',
    ],
)
def test_what_holds_no_secret_is_passed_over_however_long_it_is(repeated: bytes) -> None:
    body = b"[%s%%s]" % (repeated * ((1 << 20) // len(repeated)))
    given_, hidden = body % b'{"password": "s3cr3t"}', body % b'{"password": "[redacted]"}'
    for paths in ({"order.items[*].pin"}, {"[0].x", "[*].k.x"} if repeated.startswith(b"{") else set()):
        redactor = Redactor(Redaction(paths=frozenset(paths)), frozenset(), b"")
        assert redactor.body(given_, b"application/json") == hidden


@pytest.mark.parametrize(
    ("content_type", "repeated"),
    [
        (b"application/json", b"[[[[[[[[1]]]]]]]],"),
        (b"text/plain", b'{"password": 1},'),
        (b"multipart/form-data", b"\n\n{[[[[[[[]]]]]]],\n--"),
        (b"application/x-www-form-urlencoded", b"a=&"),
        (b"text/plain", b"4111111111111111 "),
        (b"text/plain", b"a@b.c "),
        (b"text/plain", b"://a "),
        (b"text/plain", b"\\n1"),
        (b"text/plain", b"eyJ "),
    ],
)
def test_what_would_take_too_long_is_withheld_whole(content_type: bytes, repeated: bytes) -> None:
    start = b"[" if b"[" in repeated or b"{" in repeated else b""
    body = start + repeated * ((9 << 20) // len(repeated))
    withheld = b"[redacted: there is too much in this body to be looked into]"
    assert MASKED.body(body, content_type) == withheld
    assert MASKED.body(body[:65_536], content_type) != withheld
