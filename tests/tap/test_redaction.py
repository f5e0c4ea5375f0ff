"""What is secret is hidden, the same in the proxy as in the collector, and nothing else changes."""

import gzip
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.core.redaction.json_text import json_paths
from envoy_tap.core.redaction.patterns import luhn
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Pattern, Redaction, Style
from tests.tap.building import exchange
from tests.tap.lua import Lua

RULES = Redaction(paths=frozenset({"order.items[*].pin", "[0].x"}))
MASKED = Redactor(RULES, frozenset({"x-never"}), b"key")
HMAC = Redactor(Redaction(style=Style.HMAC), frozenset({"x-never"}), b"key")
LUA = Lua()
R = LUA.library("redaction")
CARD = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def lua_rule() -> Any:
    def names(found: frozenset[str]) -> Any:
        return LUA.runtime.table_from({name.encode(): True for name in found})

    paths = [LUA.runtime.table_from(list(path)) for path in json_paths(sorted(RULES.paths))]
    return LUA.runtime.table_from(
        {
            b"headers": names(RULES.headers | {"x-never"}),
            b"query": names(RULES.query),
            b"names": names(RULES.names),
            b"paths": LUA.runtime.table_from(paths),
            **{pattern.encode(): True for pattern in Pattern},
        }
    )


RULE = lua_rule()


def lua_body(body: bytes, content_type: bytes, *, cut: bool) -> bytes:
    found: bytes = R.body(body, content_type, b"", RULE, cut)
    return found


def json_body(text: str, *, cut: bool = False) -> str:
    body = MASKED.body(text.encode(), b"application/json", cut=cut)
    assert body == lua_body(text.encode(), b"application/json", cut=cut)
    return body.decode()


def plain_body(text: str, *, cut: bool = False) -> str:
    body = MASKED.body(text.encode(), b"text/plain", cut=cut)
    assert body == lua_body(text.encode(), b"text/plain", cut=cut)
    return body.decode()


pieces = st.sampled_from(
    [
        "4111111111111111",
        "4111 1111 1111 1111",
        "5500-0000-0000-0004",
        "378282246310005",
        "1",
        " ",
        "-",
        "+",
        "a",
        "_",
        "bob@example.org",
        "bob%40example.org",
        "@",
        "%40",
        ".",
        "x.",
        JWT,
        "eyJ",
        "eyJa.b",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "\\",
        '"password"',
        '"pass\\u0077ord"',
        '"order"',
        '"items"',
        '"pin"',
        '"x"',
        "1.5",
        "null",
        "\n",
        "&",
        "=",
        "?",
        "token",
        "password=",
        "sig=s3",
        "%74oken=",
        "?code=1&b=2",
        "#",
        'name="password"\r\n\r\n',
        'Name = "user[password]"\n\n',
        "\n\n",
        "user[token]=",
        "a.%5Bpassword%5D",
        "\ufeff",
        "\r\n--",
        "é",
        "\0",
    ]
)
texts = st.lists(pieces, max_size=14).map("".join)
types = st.sampled_from(
    [
        b"application/json",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"Multipart/form-data; boundary=b",
        b"",
    ]
)


@given(texts, types, st.booleans())
def test_the_proxy_and_the_collector_hide_the_same_of_a_body(
    text: str, content_type: bytes, cut: bool
) -> None:
    assert MASKED.body(text.encode(), content_type, cut=cut) == lua_body(text.encode(), content_type, cut=cut)


@given(st.binary(max_size=60), types, st.booleans())
def test_any_bytes_are_taken(body: bytes, content_type: bytes, cut: bool) -> None:
    assert MASKED.body(body, content_type, cut=cut) == lua_body(body, content_type, cut=cut)


@given(texts, st.sampled_from(["x-a", "authorization", "x-never", ":path"]))
def test_the_proxy_and_the_collector_hide_the_same_of_a_header(text: str, name: str) -> None:
    assert MASKED.header(name, text.encode()) == R.header(name.encode(), text.encode(), RULE)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just("s3cr3t"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["password", "a", "Token", "order", "items", "pin"]), inner, max_size=3
        )
    ),
)


def without(value: Any, path: tuple[Any, ...] = ()) -> Any:
    if path and str(path[-1]).lower() in RULES.names:
        return "[redacted]"
    if len(path) == 4 and path[:2] == ("order", "items") and isinstance(path[2], int) and path[3] == "pin":
        return "[redacted]"
    if path == (0, "x"):
        return "[redacted]"
    if isinstance(value, dict):
        return {key: without(inner, (*path, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [without(inner, (*path, place)) for place, inner in enumerate(value)]
    return value


@given(json_values, st.sampled_from([None, 2]))
def test_json_keeps_its_form(value: Any, indent: int | None) -> None:
    plain = Redactor(Redaction(paths=RULES.paths, patterns=frozenset()), frozenset(), b"")
    body = plain.body(json.dumps(value, indent=indent).encode(), b"application/json")
    assert json.loads(body) == without(value)


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        ('{"password": "a", "b": 1}', '{"password": "[redacted]", "b": 1}'),
        ('{"Token": {"a": [1, 2]}, "b": 1}', '{"Token": "[redacted]", "b": 1}'),
        ('{"pass\\u0077ord": 1}', '{"pass\\u0077ord": "[redacted]"}'),
        (
            '{"order": {"items": [{"pin": 1}, {"pin": 2}]}}',
            '{"order": {"items": [{"pin": "[redacted]"}, {"pin": "[redacted]"}]}}',
        ),
        ('{"a": 1}\n{"secret": 2}\n', '{"a": 1}\n{"secret": "[redacted]"}\n'),
        ('{"a": 1, "secret": "half', '{"a": 1, "secret": "[redacted]"'),
        ('{"secret": {"half": [1, ', '{"secret": "[redacted]"'),
        ("for(;;); {secret: 1}", "for(;;); {[redacted]"),
        ('{"a": 1}}, "secret": 1', '{"a": 1}[redacted]'),
        ("[" * 70, "[" * 64 + "[redacted]"),
    ],
)
def test_json(given_: str, hidden: str) -> None:
    assert json_body(given_) == hidden


def test_what_only_looks_like_json_is_let_through_where_it_is_not() -> None:
    assert plain_body("[INFO] all is well}") == "[INFO] all is well}"
    assert plain_body('{"password": 1}') == '{"password": "[redacted]"}'


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        (f"a {CARD} b", "a [redacted] b"),
        ("4111 1111-1111+1111, 2025", "[redacted], 2025"),
        ("4111 1111 1111 1111 12 2025", "[redacted] 12 2025"),
        ("4111111111111112", "4111111111111112"),
        (f"x{CARD}", f"x{CARD}"),
        (f"{CARD}0", f"{CARD}0"),
        ("1732351914000", "1732351914000"),
        ("mail <a.b+c@mail.example.org>.", "mail <[redacted]>."),
        ("a%40example.org&b", "[redacted]&b"),
        ("@example.org a@b", "@example.org a@b"),
        (f"Bearer {JWT};", "Bearer [redacted];"),
        ("eyJ no", "eyJ no"),
    ],
)
def test_patterns(given_: str, hidden: str) -> None:
    assert plain_body(given_) == hidden
    assert MASKED.header("x-a", given_.encode()).decode() == hidden


@pytest.mark.parametrize("tail", ["4111 1111 11", JWT[:20], "bob@exam", CARD])
def test_what_the_end_of_a_capture_cuts_in_two_is_hidden(tail: str) -> None:
    assert plain_body(f"so {tail}", cut=True) == "so [redacted]"


@pytest.mark.parametrize(
    ("given_", "hidden"),
    [
        ("/a?token=s&b=2", "/a?token=[redacted]&b=2"),
        ("/a?b=2&%74oken=s#f", "/a?b=2&%74oken=[redacted]#f"),
        ('<https://a/?sig=s>; rel="next"', '<https://a/?sig=[redacted]>; rel="next"'),
        ("/a?token", "/a?token"),
        ("https://a/cb#access_token=s&state=1", "https://a/cb#access_token=[redacted]&state=1"),
        (
            "/a?user[password]=s&o.token=s&x%5Bcvc%5D%5B%5D=1",
            "/a?user[password]=[redacted]&o.token=[redacted]&x%5Bcvc%5D%5B%5D=[redacted]",
        ),
        ("token=s&b=2", "token=[redacted]&b=2"),
    ],
)
def test_query_parameters(given_: str, hidden: str) -> None:
    assert MASKED.header(":path", given_.encode()).decode() == hidden


def test_forms() -> None:
    form = b"user=bob&password=s3%26cr3t&pass%77ord=x&n"
    hidden = MASKED.body(form, b"application/x-www-form-urlencoded")
    assert hidden == b"user=bob&password=[redacted]&pass%77ord=[redacted]&n"
    parts = b'--b\r\ncontent-disposition: form-data; name="password"\r\n\r\ns3\r\ncr3t\r\n--b\r\nx; name=a\r\n\r\n1\r\n--b--'
    assert MASKED.body(parts, b"multipart/form-data; boundary=b") == parts.replace(
        b"s3\r\ncr3t", b"[redacted]"
    )


@pytest.mark.parametrize(
    ("content_type", "given_"),
    [
        ("application/x-www-form-urlencoded", '{"password": %s}'),
        ("application/x-www-form-urlencoded", "user[password]=%s&user%%5Btoken%%5D=%s&pin=1"),
        ("text/plain", "password=%s&user=bob"),
        ("text/plain", '\ufeff{"password": %s}'),
        ("application/json", '{"accessToken": %s, "clientSecret": %s, "newPassword": %s}'),
        (
            "multipart/form-data",
            '--b\r\nContent-Disposition: form-data; Name = "password"\r\n\r\n%s\r\n--b--',
        ),
        ("multipart/form-data", '--b\ncontent-disposition: form-data; name="user[password]"\n\n%s\n--b--'),
        (
            "multipart/related",
            '--b\r\ncontent-type: application/json\r\n\r\n{"token": %s}\r\n--b\r\n\r\n[{"token": %s}]\r\n--b--',
        ),
    ],
)
def test_a_secret_is_found_however_clients_write_it(content_type: str, given_: str) -> None:
    secret, mask = ('"s3cr3t"', '"[redacted]"') if "{" in given_ else ("s3cr3t", "[redacted]")
    count = given_.count("%s")
    body = (given_ % ((secret,) * count)).encode()
    hidden = (given_ % ((mask,) * count)).encode()
    assert MASKED.body(body, content_type.encode()) == hidden
    assert lua_body(body, content_type.encode(), cut=False) == hidden


def test_equal_secrets_have_equal_placeholders_and_no_others_do() -> None:
    def placeholder(value: bytes, key: bytes = b"key") -> bytes:
        return Redactor(Redaction(style=Style.HMAC), frozenset(), key).header("authorization", value)

    assert placeholder(b"a") == placeholder(b"a") != placeholder(b"b")
    assert placeholder(b"a") != placeholder(b"a", b"other key")
    assert placeholder(placeholder(b"a")) == placeholder(b"a")
    assert HMAC.body(b'{"password": "a"}', b"application/json") == b'{"password": "%s"}' % placeholder(b"a")
    assert HMAC.header("x-never", b"a") == b"[redacted]"


def test_a_compressed_body_is_opened_or_withheld() -> None:
    packed = zlib.compress(b'{"password": "s3cr3t"}', wbits=31)
    headers = (("content-type", b"application/json"), ("content-encoding", b"gzip"))
    assert MASKED.message(Message(headers, packed)).body == b'{"password": "[redacted]"}'
    assert MASKED.message(Message(headers, packed[:-9]), cut=True).body.startswith(b'{"password": "[red')
    for coding, pack in ((b"br", brotli.compress), (b"zstd", zstandard.compress), (b"br, gzip", _twice)):
        headers = (("content-type", b"application/json"), ("content-encoding", coding))
        assert (
            MASKED.message(Message(headers, pack(b'{"password": "s3cr3t"}'))).body
            == b'{"password": "[redacted]"}'
        )
    for encoding in (b"br", b"zstd", b"compress", b"gzip, gzip", b"br, br, gzip"):
        withheld = MASKED.message(Message((("content-encoding", encoding),), b"opaque"))
        assert withheld.body == b"[redacted: a body in content-encoding %s cannot be looked into]" % encoding


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "br, gzip"])
def test_no_more_of_a_compressed_body_is_opened_than_was_asked_for(coding: str) -> None:
    packers: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress,
        "deflate": zlib.compress,
        "br": brotli.compress,
        "zstd": zstandard.compress,
        "br, gzip": _twice,
    }
    redactor = Redactor(Redaction(), frozenset(), b"key", most_opened_bytes=1000)

    def seen(body: bytes) -> Exchange:
        headers = (("content-encoding", coding.encode()),)
        return redactor.redacted(exchange(response=Message(headers, packers[coding](body))))

    bomb, whole = seen(b"x" * 5_000_000), seen(b"x" * 999)
    assert bomb.response is not None
    assert whole.response is not None
    assert (len(bomb.response.body), bomb.truncated) == (1000, True)
    assert (len(whole.response.body), whole.truncated) == (999, False)
    # What is cut in two there is a secret as at the end of any capture.
    cut = seen(b"x" * 990 + b" 4111111111111111")
    assert cut.response is not None
    assert cut.response.body.endswith(b" [redacted]")


def test_a_compressed_body_that_came_in_part_is_truncated() -> None:
    packed = zlib.compress(b'{"a": "b"}', wbits=31)[:-9]
    found = MASKED.redacted(exchange(response=Message((("content-encoding", b"gzip"),), packed)))
    assert found.truncated


def _twice(body: bytes) -> bytes:
    return zlib.compress(brotli.compress(body), wbits=31)


def test_trailers_are_redacted_too() -> None:
    found = MASKED.redacted(exchange(Message((), b"", (("x-never", b"s"), ("x-a", CARD.encode())))))
    assert found.request is not None
    assert found.request.trailers == (("x-never", b"[redacted]"), ("x-a", b"[redacted]"))


@pytest.mark.parametrize(
    "body",
    [
        "a" * 200_000,
        "1 " * 100_000,
        "eyJ" * 60_000,
        "@" * 100_000,
        "a@" * 100_000,
        "&" * 200_000,
        '{"a":' * 40_000,
        "name=" * 40_000,
        "name=;" * 80_000,
        "4" * 200_000,
        '"\\' * 100_000,
    ],
    ids=lambda body: body[:6],
)
@pytest.mark.parametrize(
    "content_type", [b"application/json", b"text/plain", b"a/x-www-form-urlencoded", b"multipart/a"]
)
def test_no_body_takes_long(body: str, content_type: bytes) -> None:
    began_s = time.process_time()
    lua_body(body.encode(), content_type, cut=True)
    MASKED.body(body.encode(), content_type)
    assert time.process_time() - began_s < 4


def test_luhn() -> None:
    assert [luhn(number) for number in (b"4111111111111111", b"79927398713", b"79927398710")] == [
        True,
        True,
        False,
    ]
