"""Secrets in gRPC bodies: what takes their place is as long as they are, so that lengths in the body stay true."""

import struct
from collections.abc import Callable
from typing import TypeAlias

from envoy_tap.core.redaction.editor import Replace, Steps

Hide = Callable[[bytes, bool], bytes]
"""Returns a text without its secrets; whether it is cut off is told."""

Edit = Callable[[bytes, bool, int], bytes]
"""Returns a message without its secrets; told are whether it is cut off, and how much is known to be missing."""

# Where it begins and ends, those in it, if it may be a message, and whether it is cut off.
_Field: TypeAlias = tuple[int, int, "list[_Field] | None", bool]

_PREFIX = struct.Struct(">BI")
_COMPRESSED = 0x01
_FLAGS = frozenset({0, 1, 0x80, 0x81})
_MAX_SIZE = (1 << 32) - 1
_MAX_DEPTH = 12
_VARINT_BYTES = 10
_MAX_NUMBER = (1 << 29) - 1
_LENGTH, _GROUP, _GROUP_END = 2, 3, 4
_FIXED_BYTES = {1: 8, 5: 4}
# `a=b`; a message can have a great many fields that are shorter.
_LEAST_SECRET = 3


def is_framed(content_type: bytes) -> bool:
    """Whether a body of *content_type* (lower case) is gRPC messages as bytes; gRPC-Web's text is base64."""
    return content_type.startswith(b"application/grpc") and not content_type.startswith(
        b"application/grpc-web-text"
    )


def fitted(replace: Replace) -> Replace:
    """Return *replace* with what is as long as the secret: filled up, or nothing but asterisks."""

    def replaced(value: bytes) -> bytes:
        found = replace(value)
        return found.ljust(len(value), b"*") if len(found) <= len(value) else b"*" * len(value)

    return replaced


def edit_messages(body: bytes, edited: Edit, *, cut: bool) -> bytes:
    """Return *body* with its messages *edited*, and their sizes told anew; compressed ones are left as they are."""
    out: list[bytes] = []
    at = 0
    while at + _PREFIX.size <= len(body) and body[at] in _FLAGS:
        flags, size = _PREFIX.unpack_from(body, at)
        at += _PREFIX.size
        data = body[at : at + size]
        at += len(data)
        if flags & _COMPRESSED == 0:
            missing = size - len(data)
            new = edited(data, missing > 0, missing)
            size = min(missing + len(new), _MAX_SIZE)
            data = new
        out += (_PREFIX.pack(flags, size), data)
    return b"".join((*out, edited(body[at:], cut, 0)))


def hide_message(
    data: bytes, hide: Hide, everywhere: Hide, steps: Steps, *, cut: bool, missing: int
) -> bytes:
    """Return a protobuf message (of any other format, the bytes) whose texts are hidden; *hide* must keep lengths.

    What may be a text or a message is both: when its fields are hidden, *everywhere* looks over all of it. In one that is
    cut, *hide* does: nobody reads its fields, and almost any bytes may be the beginning of a message.
    """
    end = len(data)
    fields = _Reader(data, steps).fields(0, end, end + missing, _MAX_DEPTH)
    return _hidden(data, (0, end, fields, cut), hide, everywhere)


def _hidden(data: bytes, field: "_Field", hide: Hide, everywhere: Hide) -> bytes:
    start, end, inner, cut = field
    if end - start < _LEAST_SECRET:
        return data[start:end]
    if inner is None:
        return hide(data[start:end], cut)
    out: list[bytes] = []
    for each in inner:
        out += (data[start : each[0]], _hidden(data, each, hide, everywhere))
        start = each[1]
    return (hide if cut else everywhere)(b"".join((*out, data[start:end])), cut)


class _Reader:
    def __init__(self, data: bytes, steps: Steps) -> None:
        self._data = data
        self._steps = steps

    def fields(self, at: int, end: int, told: int, depth: int) -> "list[_Field] | None":
        """Return where the fields with a length are, None if these bytes are no message.

        One that is cut ends before *told*, as may the last of its fields.
        """
        found: list[_Field] = []
        groups: list[int] = []
        while at < end:
            self._steps.take()
            tag, at = _varint(self._data, at, end, told)
            if at > end:
                break
            if not 1 <= tag >> 3 <= _MAX_NUMBER:
                return None
            if tag & 7 == _LENGTH:
                size, at = _varint(self._data, at, end, told)
                if at > end:
                    break
                if not 0 <= size <= told - at:
                    return None
                found.append(self._field(at, at + size, end, depth))
                at += size
            else:
                at = self._after(at, end, told, tag, groups)
                if at < 0:
                    return None
        return found if at <= told and (end < told or not groups) else None

    def _field(self, at: int, told: int, end: int, depth: int) -> _Field:
        last = min(told, end)
        return at, last, self.fields(at, last, told, depth - 1) if depth else None, last < told

    def _after(self, at: int, end: int, told: int, tag: int, groups: list[int]) -> int:
        """Return where a field without a length ends, -1 for what is none; *groups* are those that are open."""
        wire = tag & 7
        if wire in _FIXED_BYTES:
            return at + _FIXED_BYTES[wire]
        if wire == 0:
            value, after = _varint(self._data, at, end, told)
            return after if value >= 0 else -1
        if wire == _GROUP:
            groups.append(tag >> 3)
            return at
        return at if wire == _GROUP_END and groups and groups.pop() == tag >> 3 else -1


def _varint(data: bytes, at: int, end: int, told: int) -> tuple[int, int]:
    """Return a number and where it ends, which is *told* for one that is cut; -1 for what is none."""
    value = 0
    for place in range(min(_VARINT_BYTES, end - at)):
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 -- the continuation bit
            return value, at + place + 1
    return (0, told) if end < told and end - at < _VARINT_BYTES else (-1, at)
