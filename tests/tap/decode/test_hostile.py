"""Whatever a peer sends, decoding ends soon, stays within its bounds, and raises nothing."""

import gzip
import json

from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.decode import Limits, as_object, decoded
from envoy_tap.core.decode.layout import json_lines
from envoy_tap.core.exchange import Message
from tests.tap.building import exchange

LIMITS = Limits(opened_bytes=4096, text_chars=2048, items=50, hexdump_bytes=64, image_bytes=64)
TYPES = [
    b"application/json",
    b"application/x-www-form-urlencoded",
    b"multipart/form-data; boundary=b",
    b"multipart/mixed; boundary=",
    b'multipart/x; boundary="\xff\r\nx',
    b"application/grpc",
    b"application/grpc-web-text",
    b"text/plain; charset=utf-16",
    b"text/plain; charset=*''utf-7''",
    b"image/png",
    b"",
]
CODINGS = [b"", b"gzip", b"deflate", b"br", b"zstd", b"gzip,gzip,gzip,gzip,gzip,gzip", b",;\xff"]
PIECES = st.sampled_from(
    [
        b"--b",
        b"\r\n",
        b"\n",
        b"{",
        b"[",
        b'"',
        b"\\",
        b"5\r\n",
        b"0\r\n\r\n",
        b"a=b&",
        b"\x0a\x05",
        b"\x1f\x8b\x08",
        b"\x28\xb5\x2f\xfd",
        b"\x89PNG\r\n\x1a\n",
        b"\x82\x7f",
        b"\x00\x00\x00\x00\x05",
        b"\xff\xfe",
        gzip.compress(b"a" * 9999),
    ]
)
BODIES = st.one_of(
    st.binary(max_size=2000), st.lists(PIECES | st.binary(max_size=6), max_size=80).map(b"".join)
)


@given(
    body=BODIES,
    content_type=st.sampled_from(TYPES) | st.binary(max_size=40),
    coding=st.sampled_from(CODINGS),
    grpc_encoding=st.sampled_from([b"gzip", b"br", b"\xff"]),
    chunked=st.booleans(),
    upgraded=st.booleans(),
    cut=st.booleans(),
)
def test_anything_is_decoded_within_the_limits(
    *,
    body: bytes,
    content_type: bytes,
    coding: bytes,
    grpc_encoding: bytes,
    chunked: bool,
    upgraded: bool,
    cut: bool,
) -> None:
    headers = (
        ("content-type", content_type),
        ("content-encoding", coding),
        ("grpc-encoding", grpc_encoding),
        ("transfer-encoding", b"chunked" if chunked else b""),
        ("upgrade", b"websocket" if upgraded else b""),
    )
    found = decoded(
        exchange(Message(headers, body), Message(((":status", b"101"),), body), truncated=cut), limits=LIMITS
    )
    for half in as_object(found).values():
        text = json.dumps(half)
        # Each character may be an escape of six; an item costs its names; a part its headers, which are of the body.
        bound = 6 * LIMITS.text_chars + 400 * LIMITS.items + 6 * len(body) + 4000
        assert len(text) < bound
        assert half["opened_bytes"] <= max(len(body), LIMITS.opened_bytes)


@given(
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_means_the_same_when_it_is_set_out(value: object) -> None:
    assert json.loads(json_lines(json.dumps(value), 1 << 20)) == value


def test_deep_nesting_costs_no_more_than_its_bound() -> None:
    assert len(json_lines("[" * 100_000, 5000)) < 5100
    found = decoded(exchange(Message((("content-type", b"application/json"),), b"[" * (1 << 20))))
    assert found.request is not None
    assert found.request.notes == ("there is more of it than is shown",)


def test_messages_in_messages_end() -> None:
    body = b""
    for _ in range(2000):
        size = len(body)
        body = b"\x0a" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])) + body
    framed = b"\0" + len(body).to_bytes(4, "big") + body
    found = as_object(decoded(exchange(Message((("content-type", b"application/grpc"),), framed))))
    assert len(found["request"]["messages"]) == 1


def test_parts_in_parts_end() -> None:
    body = b"--b\r\ncontent-type: multipart/mixed; boundary=b\r\n\r\n" * 5000
    found = as_object(decoded(exchange(Message((("content-type", b"multipart/mixed; boundary=b"),), body))))
    assert 0 < len(found["request"]["parts"]) <= 200
