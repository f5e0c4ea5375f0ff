"""gRPC bodies: length-prefixed messages (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md)."""

import base64
import binascii
import json
import re
import struct
from dataclasses import dataclass
from itertools import islice

from envoy_tap.core.decode.codings import opened
from envoy_tap.core.decode.layout import hexdump
from envoy_tap.core.decode.model import Grpc, GrpcMessage, Room, Schema
from envoy_tap.core.decode.protobuf import read_message
from envoy_tap.core.events import Side

_PREFIX = struct.Struct(">BI")
_COMPRESSED = 0x01
_TRAILERS = 0x80
_BASE64 = re.compile(rb"[^=]+={0,2}")
_MOST_PIECES = 10_000


def is_grpc(media_type: str) -> bool:
    """Whether *media_type* is gRPC's or gRPC-Web's, of whichever message format."""
    return media_type.startswith("application/grpc")


@dataclass(frozen=True, slots=True)
class Call:
    """What the messages belong to; `method` is /pkg.Service/Method, `encoding` of the header grpc-encoding."""

    method: str
    side: Side
    encoding: str
    schema: Schema | None


def read_grpc(body: bytes, media_type: str, call: Call, room: Room) -> tuple[Grpc, list[str]]:
    """Return the messages of *body* and what is to be noted."""
    notes: list[str] = []
    if media_type.startswith("application/grpc-web-text"):
        body = _unquoted(body)
    messages: list[GrpcMessage] = []
    at = 0
    while at + _PREFIX.size <= len(body):
        if not room.take_item():
            notes.append(f"there are more messages than these {len(messages)}")
            break
        flags, size_bytes = _PREFIX.unpack_from(body, at)
        at += _PREFIX.size
        data = body[at : at + size_bytes]
        messages.append(_message(data, size_bytes, flags, call, room))
        at += size_bytes
    else:
        if at < len(body):
            notes.append(f"the last {len(body) - at} bytes are no whole message")
    if messages and not messages[-1].complete:
        notes.append("the last message is cut off")
    return Grpc(call.method, tuple(messages)), notes


def _message(data: bytes, size_bytes: int, flags: int, call: Call, room: Room) -> GrpcMessage:
    complete = len(data) == size_bytes
    if flags & _TRAILERS:
        text, _ = room.take_text(data.decode("latin-1"))
        return GrpcMessage(size_bytes, complete=complete, type="trailers", text=text)
    compressed = bool(flags & _COMPRESSED)
    if compressed:
        found = opened(data, call.encoding, room.opened_bytes)
        if found is None:
            return GrpcMessage(size_bytes, True, complete, hexdump=_dumped(data, room))
        data = found.data
        room.opened_bytes -= len(data)
        complete = complete and found.complete
    if complete and call.schema is not None:
        known = call.schema.read(call.method, call.side, data)
        if known is not None:
            text, _ = room.take_text(json.dumps(known[1], indent=2, ensure_ascii=False))
            return GrpcMessage(size_bytes, compressed, complete, known[0], text)
    fields = read_message(data, room) if complete else None
    if fields is None:
        return GrpcMessage(size_bytes, compressed, complete, hexdump=_dumped(data, room))
    return GrpcMessage(size_bytes, compressed, complete, fields=fields)


def _dumped(data: bytes, room: Room) -> str:
    return room.take_text(hexdump(data, room.limits.hexdump_bytes))[0]


def _unquoted(body: bytes) -> bytes:
    # Each piece that was flushed is base64 of its own, with padding in the middle of the body (gRPC-Web's text format).
    found = bytearray()
    pieces = _BASE64.finditer(body.translate(None, b" \t\r\n"))
    for piece in islice(pieces, _MOST_PIECES):
        # What is left of a group that was cut off is no byte.
        whole = piece[0][: len(piece[0]) // 4 * 4]
        try:
            found += base64.b64decode(whole)
        except binascii.Error:
            break
    return bytes(found)
