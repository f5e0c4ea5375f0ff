"""In gRPC bodies what is hidden is as long as what it hides, the same in the proxy as in the collector."""

import json
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_tap.core.decode.model import Limits, ProtoField, Room
from envoy_tap.core.decode.protobuf import read_message
from envoy_tap.core.redaction.editor import MOST_STEPS
from envoy_tap.core.redaction.names import hide_query
from envoy_tap.core.redaction.redactor import TOO_MUCH, Redactor
from envoy_tap.core.redaction.rules import Redaction, Style
from tests.tap.redacting import CARD, JWT, MASKED, lua_body

GRPC = b"application/grpc"
Field = tuple[int, Any]


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


def message(*fields: Field) -> bytes:
    """Return a protobuf message: texts, bytes, numbers and, as tuples, messages."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            data = message(*value) if isinstance(value, tuple) else value
            data = data.encode() if isinstance(data, str) else data
            out += varint(number << 3 | 2) + varint(len(data)) + data
    return out


def framed(*messages: bytes, flags: int = 0) -> bytes:
    return b"".join(struct.pack(">BI", flags, len(each)) + each for each in messages)


def hidden(body: bytes, content_type: bytes = GRPC, *, cut: bool = False) -> bytes:
    found = MASKED.body(body, content_type, cut=cut)
    assert found == lua_body(body, content_type, cut=cut)
    return found


SECRETS = ["bob@example.org", f"card {CARD}", JWT, "https://a/?token=s3cr3t-token&b=1", "https://u:p@host/"]
MASKS = [
    "[redacted]*****",
    "card [redacted]******",
    "[redacted]" + "*" * (len(JWT) - 10),
    "https://a/?token=[redacted]**&b=1",
    "https://***@host/",
]


@pytest.mark.parametrize(("secret", "mask"), [*zip(SECRETS, MASKS, strict=True)])
@pytest.mark.parametrize("content_type", [GRPC, b"application/grpc+proto", b"application/grpc-web+proto"])
def test_messages_keep_their_lengths(secret: str, mask: str, content_type: bytes) -> None:
    def body(text: str) -> bytes:
        first = message((1, "a"), (2, ((3, text), (4, 7))), (15, "n" * 48))
        return framed(first, message((1, text))) + framed(b"grpc-status: 0\r\n", flags=0x80)

    assert hidden(body(secret), content_type) == body(mask)


@pytest.mark.parametrize("length", range(30, 128, 7))
@pytest.mark.parametrize("number", [1, 4, 5, 6, 7, 8, 12])
def test_a_length_or_tag_that_looks_like_a_letter_stays(number: int, length: int) -> None:
    address = "b" * (length - len("@example.org")) + "@example.org"
    found = hidden(framed(message((number, address), (6, "4711"), (number, "a"))))
    mask = "b" * max(0, length - len("@example.org") - 64)
    mask += "[redacted]" + "*" * (length - len(mask) - 10)
    assert found == framed(message((number, mask), (6, "4711"), (number, "a")))


@pytest.mark.parametrize("secret", ["api_key=Z", "api_key=Z0a0b8c", "access_token=XXl"])
def test_a_text_that_may_be_a_message_keeps_no_parameter(secret: str) -> None:
    value = secret.split("=")[1]
    found = hidden(framed(message((1, secret), (2, ((5, secret), (4, 7))))))
    masked = secret.replace(f"={value}", "=" + "*" * len(value))
    assert found == framed(message((1, masked), (2, ((5, masked), (4, 7)))))


def test_no_messages_take_long() -> None:
    began_s = time.process_time()
    found = b"\x0a\x00" * 2000 + message((1, ("a" * 32 + "@" * 32) * 1000))
    for _ in range(10):
        found = b"\x0a" + varint(len(found)) + found
    MASKED.body(framed(found), GRPC)
    # Millions of looks at signs that no address stands before: a proxy's worker has other things to do.
    assert lua_body(framed(found), GRPC, cut=False) == TOO_MUCH
    assert time.process_time() - began_s < 4


numbers = st.integers(1, 20)
texts = st.lists(
    st.sampled_from(
        [*SECRETS, "a", " ", "@", ".", "4111", "1111", "eyJ", "?token=", "é", "\0", '"', "=", "0"]
    ),
    max_size=5,
).map("".join)
fields = st.recursive(
    st.tuples(numbers, texts | st.integers(0, 1 << 40) | st.binary(max_size=8)),
    lambda inner: st.tuples(numbers, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
bodies = st.lists(st.lists(fields, max_size=4).map(lambda found: message(*found)), max_size=3).map(
    lambda found: framed(*found)
)
types = st.sampled_from(
    [GRPC, b"application/grpc+json", b"application/grpc-web-text", b"application/GRPC-web"]
)


@given(bodies | st.binary(max_size=40), types, st.booleans(), st.integers(0, 30))
def test_the_proxy_and_the_collector_hide_the_same_of_messages(
    body: bytes, content_type: bytes, cut: bool, missing: int
) -> None:
    body = body[: len(body) - missing] if cut else body
    once = hidden(body, content_type, cut=cut)
    if b"json" not in content_type and b"text" not in content_type:
        assert len(once) == len(body)
    assert hidden(once, content_type, cut=cut) == once


def shape(found: tuple[ProtoField, ...] | None) -> Any:
    return [(each.number, shape(each.value) if isinstance(each.value, tuple) else 0) for each in found or ()]


@given(st.lists(st.tuples(numbers, st.sampled_from(SECRETS) | st.integers(0, 9)), max_size=5))
def test_fields_are_read_as_before(found: list[Field]) -> None:
    body = framed(message(*found, (1, tuple(found))))
    after = hidden(body)
    room = Room(Limits())
    assert shape(read_message(after[5:], room)) == shape(read_message(body[5:], room))
    for secret in (b"bob@", CARD.encode(), b"eyJ", b"s3cr3t", b"u:p"):
        assert secret not in after


def test_a_compressed_message_is_left_as_it_is() -> None:
    body = framed(b"bob@example.org", flags=1)
    assert hidden(body + framed(message((1, "a@b.example")))) == body + framed(message((1, "[redacted]*")))


def test_json_in_messages_is_json_and_sizes_are_told_anew() -> None:
    def body(secret: str) -> bytes:
        return framed(*(json.dumps({"password": secret, "n": n}).encode() for n in (1, 2)))

    assert hidden(body("s"), b"application/grpc+json") == body("[redacted]")


def test_what_is_cut_off_is_hidden_and_its_size_stays() -> None:
    body = framed(message((1, "bob@example.org")))[:-4]
    assert hidden(body, cut=True).startswith(body[:5])
    assert b"bob" not in hidden(body, cut=True)


def test_a_message_that_ends_before_its_frame_says_is_cut_though_nobody_says_so() -> None:
    body = framed(message((1, "token=s3cr3t"), (2, "a" * 20)))[:-9]
    assert hidden(body) == body.replace(b"s3cr3t", b"*" * 6)


SECRET = b"S3CR3T-V4LUE"
harmless = st.recursive(
    st.tuples(numbers, st.sampled_from(["", "hello", "a b", "\0\1", "1 2"]) | st.integers(0, 1 << 40)),
    lambda inner: st.tuples(numbers, st.lists(inner, max_size=3).map(tuple)),
    max_leaves=4,
)
starts = st.sampled_from(["token=", "?token=", "https://a/?b=1&password=", "%3Ftoken%3d"])


@st.composite
def cut_messages(draw: st.DrawFn) -> bytes:
    """Return a message with a secret in it, which may be deep down."""
    inner: Field = (
        draw(numbers),
        draw(starts).encode() + SECRET + draw(st.sampled_from([b"", b"&b=1", b" a"])),
    )
    for _ in range(draw(st.integers(0, 3))):
        before, after = draw(st.lists(harmless, max_size=2)), draw(st.lists(harmless, max_size=2))
        inner = (draw(numbers), (*before, inner, *after))
    return message(*draw(st.lists(harmless, max_size=2)), inner, *draw(st.lists(harmless, max_size=2)))


@settings(max_examples=30)
@given(cut_messages(), st.booleans())
def test_wherever_a_message_is_cut_no_text_in_it_shows_more_than_one_character(
    data: bytes, group: bool
) -> None:
    # A group that the cut leaves open.
    data = b"\x0b" + data + b"\x0c" if group else data
    body = framed(message((3, "hello")), data)
    for end in range(len(body)):
        found = hidden(body[:end], cut=True)
        assert len(found) == end
        assert SECRET[:2] not in found


@given(
    st.lists(
        st.sampled_from([b"?token=S3", b"%3ftoken%3dS3", b"#secret=S3", b"&pwd=S3", b"=", b"z", b"\0", b" "])
        | st.binary(max_size=6),
        max_size=6,
    ).map(b"".join),
    st.integers(1, 100),
)
def test_what_is_no_message_shows_no_more_than_one_text_would(data: bytes, missing: int) -> None:
    text = hide_query(data, frozenset({b"token", b"secret", b"pwd"}), lambda value: b"*" * len(value))
    found = hidden(struct.pack(">BI", 0, len(data) + missing) + data, cut=True)
    assert found.count(b"S3") <= text.count(b"S3")


def test_messages_in_cut_messages_are_not_looked_over_without_end() -> None:
    data, size = b"%26" * (1 << 17) + b"\0", 1 << 20
    for _ in range(12):
        data = b"\x0a" + varint(size) + data
        size += 10
    assert MASKED.body(struct.pack(">BI", 0, size) + data, GRPC, cut=True) == TOO_MUCH


def test_a_placeholder_is_as_long_too() -> None:
    redactor = Redactor(Redaction(style=Style.HMAC), frozenset(), b"key")
    body = framed(message((1, "bob@example.org"), (2, JWT)))
    found = redactor.body(body, GRPC)
    assert (len(found), b"*" * 15 in found, b"[hmac:" in found) == (len(body), True, True)


def test_a_message_of_too_many_fields_is_left_out() -> None:
    body = framed(b"\x08\x01" * (MOST_STEPS + 1))
    assert MASKED.body(body, GRPC) == TOO_MUCH
