"""What a body turned out to be: one type for each kind, all of them values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from envoy_tap.core.events import Side


@dataclass(frozen=True, slots=True)
class Limits:
    """How much decoding may make of one exchange; what is beyond is left out, and noted.

    `opened_bytes`: out of content encodings, all bodies and messages together. `text_chars`: of all texts together.
    `items`: form fields, parts, frames and protobuf fields together. `hexdump_bytes` and `image_bytes`: of one body.
    """

    opened_bytes: int = 16 << 20
    text_chars: int = 1 << 20
    items: int = 5000
    hexdump_bytes: int = 4096
    image_bytes: int = 256 << 10


class Room:
    """What is left of the limits while one exchange is decoded."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.opened_bytes = limits.opened_bytes
        self._chars = limits.text_chars
        self._items = limits.items

    @property
    def has_item(self) -> bool:
        """Whether there is room for one more item."""
        return self._items > 0

    @property
    def chars(self) -> int:
        """How many characters of text there is room for."""
        return self._chars

    def take_item(self) -> bool:
        """Take the room of one item, if there is some."""
        self._items -= self._items > 0
        return self._items > 0

    def take_text(self, text: str) -> tuple[str, bool]:
        """Return as much of *text* as there is room for, and whether that is all."""
        kept = text[: self._chars]
        self._chars -= len(kept)
        return kept, len(kept) == len(text)


@dataclass(frozen=True, slots=True)
class Text:
    """Characters; `language` is json, xml, html, css, javascript or "". JSON is set out on lines, nothing else changed."""

    text: str
    language: str = ""


@dataclass(frozen=True, slots=True)
class Form:
    """application/x-www-form-urlencoded: names and values in their order, decoded."""

    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart body (RFC 2046, 5.1; RFC 7578); "" for a name that is not there."""

    name: str
    filename: str
    headers: tuple[tuple[str, str], ...]
    body: "Body"


@dataclass(frozen=True, slots=True)
class Multipart:
    """The parts of a multipart body."""

    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class ProtoField:
    """A protobuf field whose name is not known; `wire` is varint, i64, i32, text, bytes, message or group.

    `value` is a decimal number (unsigned), the text, hexadecimal digits, or the fields of the message or group.
    """

    number: int
    wire: str
    value: "str | tuple[ProtoField, ...]"


@dataclass(frozen=True, slots=True)
class GrpcMessage:
    """One length-prefixed message. With a schema `type` and `text` (JSON) are there, else `fields`.

    `hexdump` is there where it is neither, and where it is the trailers of gRPC-Web, which are `text`.
    """

    size_bytes: int
    compressed: bool = False
    complete: bool = True
    type: str = ""
    text: str = ""
    fields: tuple[ProtoField, ...] = ()
    hexdump: str = ""


@dataclass(frozen=True, slots=True)
class Grpc:
    """The messages of a gRPC or gRPC-Web body, in their order; `method` is /pkg.Service/Method."""

    method: str
    messages: tuple[GrpcMessage, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """One WebSocket frame (RFC 6455, 5.2), unmasked; `text` where it is a whole text, else `hexdump`."""

    opcode: str
    final: bool
    size_bytes: int
    compressed: bool = False
    complete: bool = True
    text: str = ""
    hexdump: str = ""


@dataclass(frozen=True, slots=True)
class WebSocket:
    """The frames that went one way, in their order."""

    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Image:
    """A raster image, by its first bytes; `data` is b"" where it is longer than the limit. Never SVG, which is text."""

    media_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Binary:
    """Anything else, or the beginning of it: offset, hexadecimal digits, and what is printable ASCII."""

    hexdump: str


@dataclass(frozen=True, slots=True)
class Empty:
    """No body."""


Content: TypeAlias = Text | Form | Multipart | Grpc | WebSocket | Image | Binary | Empty


@dataclass(frozen=True, slots=True)
class Body:
    """A body, read: `size_bytes` is of what was captured, `opened_bytes` of it out of its `codings`.

    `codings` are those that were taken off, in that order (`chunked`, `gzip`). `media_type` is in lower case, "" where
    none is said; `charset` is Python's name of what `text` was read in. `notes` say in whole sentences what is
    missing and what is not as declared.
    """

    content: Content
    media_type: str = ""
    charset: str = ""
    size_bytes: int = 0
    opened_bytes: int = 0
    codings: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


class Schema(Protocol):
    """What knows the messages of gRPC methods."""

    def read(self, method: str, side: Side, message: bytes) -> tuple[str, Mapping[str, Any]] | None:
        """Return the type's full name and the message as proto3 JSON, None where it is not known or does not fit."""
