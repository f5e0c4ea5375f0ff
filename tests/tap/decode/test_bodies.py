"""What people see of a body: each kind that is known, as it was sent."""

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

import brotli
import pytest
import zstandard

from envoy_tap.core.decode import Limits, decoded
from envoy_tap.core.decode import as_object as decoded_object
from envoy_tap.core.events import Side
from envoy_tap.core.exchange import Message
from tests.tap.building import exchange

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def read(
    body: bytes, *headers: tuple[str, bytes], limits: Limits | None = None, **more: Any
) -> dict[str, Any]:
    """Return the decoded body of a request."""
    found = decoded(exchange(Message(headers, body), **more), limits=limits or Limits())
    request: dict[str, Any] = decoded_object(found)["request"]
    return request


def typed(text: str) -> tuple[str, bytes]:
    return "content-type", text.encode()


def test_json_is_set_out_on_lines_and_nothing_but_space_changes() -> None:
    body = b'{"n":1.10,"big":123456789012345678901,"twice":1,"twice":[],"s":"a\\u00e9: {,}"}'
    found = read(body, typed("application/json; charset=utf-8"))
    assert (found["kind"], found["language"], found["charset"]) == ("text", "json", "utf-8")
    assert found["text"].splitlines() == [
        "{",
        '  "n": 1.10,',
        '  "big": 123456789012345678901,',
        '  "twice": 1,',
        '  "twice": [],',
        '  "s": "a\\u00e9: {,}"',
        "}",
    ]
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b'{"a":{"b":[1,"cut', ["{", '  "a": {', '    "b": [', "      1,", '      "cut']),
        (b'{"a":1}\n{"a":2}\n', ["{", '  "a": 1', "}", "{", '  "a": 2', "}"]),
        (b"[redacted]", ["[", "  redacted", "]"]),
    ],
    ids=["cut off", "lines", "not JSON"],
)
def test_json_need_not_be_whole(body: bytes, lines: list[str]) -> None:
    assert read(body, typed("application/json"), truncated=True)["text"].splitlines() == lines


def test_json_is_recognised_without_being_declared() -> None:
    assert read(b'{"a":1}')["language"] == "json"
    assert read(b"{a:1}")["language"] == ""


@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        ("gzip", gzip.compress(b"hello ") + gzip.compress(b"world")),
        ("deflate", zlib.compress(b"hello world")),
        ("deflate", zlib.compress(b"hello world", wbits=-15)),
        ("br", brotli.compress(b"hello world")),
        ("zstd", zstandard.compress(b"hello world")),
        ("gzip, br", brotli.compress(gzip.compress(b"hello world"))),
    ],
    ids=["gzip of two members", "deflate", "raw deflate", "br", "zstd", "two codings"],
)
def test_content_codings_are_taken_off(coding: str, packed: bytes) -> None:
    found = read(packed, typed("text/plain"), ("content-encoding", coding.encode()))
    assert found["text"] == "hello world"
    assert found["codings"] == list(reversed(coding.split(", ")))
    assert (found["bytes"], found["opened_bytes"], found["notes"]) == (len(packed), 11, [])


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "compress"])
def test_what_the_collector_has_opened_is_shown_as_it_is(coding: str) -> None:
    found = read(b'{"a": "[redacted]"}', typed("application/json"), ("content-encoding", coding.encode()))
    assert found["language"] == "json"
    assert "opened it before it was stored" in found["notes"][0]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_a_small_body_that_holds_a_very_large_one_is_opened_up_to_the_limit(coding: str) -> None:
    pack = {"gzip": gzip.compress, "br": brotli.compress, "zstd": zstandard.compress}[coding]
    limits = Limits(opened_bytes=1 << 20)
    found = read(pack(b"a" * (20 << 20)), ("content-encoding", coding.encode()), limits=limits)
    assert found["opened_bytes"] == 1 << 20
    assert found["notes"] == [f"{coding}: this is not all that is inside"]


def test_chunks_are_put_together_and_what_only_says_so_is_left_alone() -> None:
    chunked = ("transfer-encoding", b"chunked")
    found = read(b"5\r\nhello\r\n6;x=1\r\n world\r\n0\r\n\r\n", typed("text/plain"), chunked)
    assert (found["text"], found["codings"]) == ("hello world", ["chunked"])
    assert read(b"5\r\nhel", typed("text/plain"), chunked)["text"] == "hel"
    assert read(b"hello world", typed("text/plain"), chunked)["text"] == "hello world"


@pytest.mark.parametrize(
    ("declared", "body", "charset"),
    [
        ("; charset=ISO-8859-1", "Grüße".encode("latin-1"), "iso8859-1"),
        ('; charset="Shift_JIS"', "日本".encode("shift_jis"), "shift_jis"),
        ("", "Grüße".encode(), "utf-8"),
        ("", "Grüße".encode("utf-16"), "utf-16"),
        ("; charset=punycode", "Grüße".encode(), "utf-8"),
        ("; charset=../../x", "Grüße".encode(), "utf-8"),
    ],
)
def test_charsets_are_read(declared: str, body: bytes, charset: str) -> None:
    found = read(body, typed("text/plain" + declared))
    assert found["text"] in {"Grüße", "日本"}
    assert found["charset"] == charset


def test_a_charset_that_nobody_declares_is_guessed_and_said_to_be() -> None:
    found = read("Die Größe der Straße überrascht viele Gäste. ".encode("cp1252") * 5, typed("text/plain"))
    assert found["text"].startswith("Die Größe der Straße")
    assert "by a guess" in found["notes"][0]


def test_a_character_that_is_cut_in_two_is_no_reason_to_show_bytes() -> None:
    assert read("Grüße".encode()[:-2], typed("text/plain"), truncated=True)["text"] == "Grü"


def test_forms_are_read() -> None:
    found = read(b"a=1&b=x+y%26&b=&=", typed("application/x-www-form-urlencoded"))
    assert found["fields"] == [["a", "1"], ["b", "x y&"], ["b", ""], ["", ""]]


def test_the_parts_of_a_multipart_body_are_read_each_as_what_it_is() -> None:
    body = (
        b'--=b\r\ncontent-disposition: form-data; name="order"\r\ncontent-type: application/json\r\n\r\n{"a":1}\r\n'
        b"--=b\r\ncontent-disposition: form-data; name=\"file\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.png\r\n\r\n"
        + PNG
        + b"\r\n--=b--\r\nepilogue"
    )
    parts = read(body, typed('multipart/form-data; boundary="=b"'))["parts"]
    assert [(part["name"], part["filename"], part["body"]["kind"]) for part in parts] == [
        ("order", "", "text"),
        ("file", "Grüße.png", "image"),
    ]
    assert parts[0]["body"]["text"] == '{\n  "a": 1\n}'
    assert base64.b64decode(parts[1]["body"]["base64"]) == PNG


def test_a_multipart_body_may_be_cut_off_and_of_any_subtype() -> None:
    body = b"preamble\r\n--b\r\n\r\none\r\n--b\r\ncontent-type: text/plain\r\n\r\ntw"
    found = read(body, typed("multipart/mixed; boundary=b"), truncated=True)
    assert [part["body"]["text"] for part in found["parts"]] == ["one", "tw"]
    assert found["notes"] == ["the last part has no end"]


@pytest.mark.parametrize(
    ("body", "image"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x1cftypavif", "image/avif"),
    ],
)
def test_images_are_recognised_whatever_they_are_declared_as(body: bytes, image: str) -> None:
    assert read(body, typed("text/html"))["image"] == image


def test_svg_is_text_since_it_can_hold_scripts() -> None:
    found = read(b"<svg xmlns='http://www.w3.org/2000/svg'/>", typed("image/svg+xml"))
    assert (found["kind"], found["language"]) == ("text", "xml")


def test_anything_else_is_shown_as_bytes() -> None:
    found = read(b"\x00\x01PK\xff" * 1000)
    assert found["kind"] == "binary"
    assert found["hexdump"].splitlines()[0] == (
        "00000000  00 01 50 4b ff 00 01 50  4b ff 00 01 50 4b ff 00 |..PK...PK...PK..|"
    )
    assert len(found["hexdump"].splitlines()) == 4096 // 16
    assert found["notes"] == ["the first 4096 bytes of 5000"]


def grpc(*messages: bytes, flags: int = 0) -> bytes:
    return b"".join(bytes([flags]) + len(each).to_bytes(4, "big") + each for each in messages)


HELLO = (
    b"\x0a\x05hello\x12\x02\x08\x01\x18\xac\x02\x21" + b"\x00" * 8 + b"\x2d\x01\x00\x00\x00\x32\x02\xff\xfe"
)


def test_grpc_messages_are_read_by_field_number() -> None:
    found = read(grpc(HELLO, b""), (":path", b"/shop.Orders/Get"), typed("application/grpc+proto"))
    assert (found["kind"], found["method"]) == ("grpc", "/shop.Orders/Get")
    first, second = found["messages"]
    assert [(each["number"], each["wire"], each["value"]) for each in first["fields"]] == [
        (1, "text", "hello"),
        (2, "message", [{"number": 1, "wire": "varint", "value": "1"}]),
        (3, "varint", "300"),
        (4, "i64", "0"),
        (5, "i32", "1"),
        (6, "bytes", "fffe"),
    ]
    assert (second["bytes"], second["fields"]) == (0, [])


class Hellos:
    def read(self, method: str, side: Side, message: bytes) -> tuple[str, Mapping[str, Any]] | None:
        return ("shop.Order", {"method": method, "side": side.value, "bytes": len(message)})


def test_grpc_messages_are_read_by_their_schema() -> None:
    headers = ((":path", b"/shop.Orders/Get"), typed("application/grpc"), ("grpc-encoding", b"gzip"))
    found = decoded(exchange(Message(headers, grpc(gzip.compress(b"abc"), flags=1))), Hellos())
    message = decoded_object(found)["request"]["messages"][0]
    assert (message["type"], message["compressed"]) == ("shop.Order", True)
    assert json.loads(message["text"]) == {"method": "/shop.Orders/Get", "side": "request", "bytes": 3}


def test_a_grpc_message_that_is_cut_off_says_so() -> None:
    found = read(grpc(HELLO)[:-1], typed("application/grpc"), truncated=True)
    assert found["messages"][0]["complete"] is False
    assert found["messages"][0]["hexdump"].startswith("00000000  0a 05 68")
    assert found["notes"] == ["the last message is cut off"]


def test_many_small_compressed_messages_cannot_be_one_large_bomb() -> None:
    bomb = gzip.compress(b"\0" * (1 << 20))
    headers = (typed("application/grpc"), ("grpc-encoding", b"gzip"))
    limits = Limits(opened_bytes=3 << 20)
    found = read(grpc(*[bomb] * 50, flags=1), *headers, limits=limits)
    assert [each["complete"] for each in found["messages"][:4]] == [True, True, True, False]


def test_grpc_web_is_read_also_as_text() -> None:
    body = base64.b64encode(grpc(HELLO)) + base64.b64encode(grpc(b"grpc-status: 0\r\n", flags=0x80))
    found = read(body, typed("application/grpc-web-text"))
    assert [each["type"] for each in found["messages"]] == ["", "trailers"]
    assert found["messages"][1]["text"] == "grpc-status: 0\r\n"


def test_websocket_frames_are_read_in_both_directions() -> None:
    # RFC 6455, 5.7: "Hello" masked and not, and a ping.
    sent = bytes.fromhex("818537fa213d7f9f4d5158")
    back = bytes.fromhex("010348656c80026c6f 890548656c6c6f 8202ff00") + b"\x82\x7e\x01\x00abc"
    request = Message((("upgrade", b"WebSocket"),), sent)
    found = decoded_object(decoded(exchange(request, Message(((":status", b"101"),), back))))
    assert found["request"]["frames"][0]["text"] == "Hello"
    frames = found["response"]["frames"]
    assert [(each["opcode"], each["final"], each["bytes"], each["complete"]) for each in frames] == [
        ("text", False, 3, True),
        ("continuation", True, 2, True),
        ("ping", True, 5, True),
        ("binary", True, 2, True),
        ("binary", True, 256, False),
    ]
    assert frames[3]["hexdump"].startswith("00000000  ff 00")
    assert found["response"]["notes"] == ["the last frame is cut off"]


def test_a_half_that_was_not_captured_is_none() -> None:
    assert decoded_object(decoded(exchange(None)))["request"] is None
