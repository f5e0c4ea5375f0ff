"""The proxy's Lua and the collector's Python hide the same, of anything, and in no long time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.redaction.redactor import TOO_MUCH
from envoy_tap.core.session import Limits
from tests.tap.redacting import JWT, MASKED, RULE, R, lua_body

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
        "\1",
        "\\n",
        "\\u00",
        "\\u0020",
        "\\u002b",
        "\\u0026",
        "\\u003D",
        "\\u003cbob@example.org",
        "\\u002Bbob@example.org",
        '\\"',
        "4111%201111%201111%201111",
        "4111%2D1111\xa01111%c2%A01111",
        "4111\\u00a01111\\u00201111\\u002D1111",
        "%",
        "%2",
        "%20",
        "%3D",
        "%3ftoken%3d",
        "%26",
        ";",
        "<",
        ">",
        ";pwd=",
        "&amp;token=",
        '"gr\\u00f6\\u00DFe"',
        '"größe"',
        '"GR\\u00d6SSE"',
        '"kunde"',
        '"stra\\u00dfe"',
        '"\\ud83d\\ude00"',
        '"\\ud83d\\"',
        "https://",
        "https:\\/\\/user:pw@host",
        "://u@",
    ]
)
texts = st.lists(pieces, max_size=14).map("".join)
types = st.sampled_from(
    [
        b"application/json",
        b"text/plain",
        b"application/grpc",
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


@given(texts, st.sampled_from(["x-a", "authorization", "x-never", ":path", "referer"]))
def test_the_proxy_and_the_collector_hide_the_same_of_a_header(text: str, name: str) -> None:
    R.begin()
    assert MASKED.header(name, text.encode()) == R.header(name.encode(), text.encode(), RULE)


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
        ("a" * 200 + ".b=&") * 1000,
        "%26" * 70_000,
        "a://" * 50_000,
        "token=\\" * 30_000,
        "\1" * 200_000,
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


@pytest.mark.parametrize(
    ("content_type", "start", "repeated"),
    [
        (b"application/json", b'[{"password": "s3cr3t"},', b"1 "),
        (b"application/json", b'[{"password": "s3cr3t"},', b'{"\\u0061":1},'),
        (b"text/plain", b'[{"password": "s3cr3t"},', b'{"password":1},'),
        (b"text/plain", b"?token=s3cr3t&", b"="),
        (b"text/plain", b"?token=s3cr3t&", b"41 11 11 "),
        (b"text/plain", b"?token=s3cr3t&", b"%40"),
        (b"text/plain", b"https://u:s3cr3t@host ", b"://a@ "),
        (b"text/plain", b"?token=s3cr3t&", b"eyJ. "),
        (b"application/x-www-form-urlencoded", b"password=s3cr3t&", b"a=&"),
        (b"multipart/form-data", b'name="password"\n\ns3cr3t\n--\n', b"\n\n{}\n--"),
        (b"multipart/form-data", b'name="password"\n\ns3cr3t\n--\n', b"name=;"),
        (b"application/grpc", b"\0\0\x09\x27\xcf\x0a\x0d?token=s3cr3t", b"\x0a\x04:1=2"),
        (b"application/grpc", b"\0\0\0\0\x0f\x0a\x0dtoken=s3cr3t&", b"\0\0\0\0\0"),
        (b"application/grpc+json", b'\0\0\0\0\x15{"password":"s3cr3t"}', b"\0\0\0\0\1["),
    ],
)
def test_a_body_that_would_hold_a_worker_up_is_withheld_whole(
    content_type: bytes, start: bytes, repeated: bytes
) -> None:
    body = (start + repeated * (1 << 20))[: 1 << 20]
    assert lua_body(body, content_type, cut=True) == TOO_MUCH
    hidden = lua_body(body[:4096], content_type, cut=True)
    assert b"s3cr3t" not in hidden
    assert hidden != TOO_MUCH


@pytest.mark.parametrize(
    ("content_type", "record", "hidden"),
    [
        (
            b"application/json",
            b'{"id":1,"y":[2,3.5],"ok":true,"pwd":"a"},',
            b'{"id":1,"y":[2,3.5],"ok":true,"pwd":"[redacted]"},',
        ),
        (b"application/json", b"12,", b"12,"),
        (b"text/plain", b"12,bob@example.org,2026-11-28\n", b"12,[redacted],2026-11-28\n"),
        (b"text/plain", b"1 ", b"1 "),
        (
            b"text/html",
            b'<a href="/a?b=c&amp;token=d">5</a>\n',
            b'<a href="/a?b=c&amp;token=[redacted]">5</a>\n',
        ),
        (b"application/x-www-form-urlencoded", b"name=a+b&pin=5&zip=1%202&", b"name=a+b&pin=5&zip=1%202&"),
        (
            b"multipart/form-data",
            b'--b\r\nx: y; name="a"\r\n\r\n1\r\n',
            b'--b\r\nx: y; name="a"\r\n\r\n1\r\n',
        ),
        (b"application/grpc", b"\0\0\0\0\x06\x0a\4\x08\1\x10\2", b"\0\0\0\0\x06\x0a\4\x08\1\x10\2"),
    ],
)
def test_an_ordinary_body_up_to_the_limit_by_default_is_shown(
    content_type: bytes, record: bytes, hidden: bytes
) -> None:
    times = Limits().body_bytes // len(record)
    start = b"[" * (b"json" in content_type)
    assert lua_body(start + record * times, content_type, cut=False) == start + hidden * times


def test_a_header_that_would_hold_a_worker_up_is_masked() -> None:
    R.begin()
    assert R.header(b"x-a", b"=" * 20_000, RULE) == b"=" * 20_000
    assert R.header(b"x-a", b"=" * 200_000, RULE) == b"[redacted]"
