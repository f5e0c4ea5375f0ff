"""Protobuf without its schema: fields by their numbers (https://protobuf.dev/programming-guides/encoding)."""

from envoy_tap.core.decode.model import ProtoField, Room

_MOST_DEPTH = 12
_VARINT_BYTES = 10
_MOST_NUMBER = (1 << 29) - 1


class _NotProtobufError(ValueError):
    """The bytes are no message."""


def read_message(data: bytes, room: Room) -> tuple[ProtoField, ...] | None:
    """Return the fields of a message in their order; None for what is none, or holds more than there is *room* for."""
    try:
        return _fields(data, room, _MOST_DEPTH)
    except _NotProtobufError:
        return None


def _fields(data: bytes, room: Room, depth: int) -> tuple[ProtoField, ...]:
    fields, at = [], 0
    while at < len(data):
        field, at = _field(data, at, room, depth)
        fields.append(field)
    return tuple(fields)


def _field(data: bytes, at: int, room: Room, depth: int) -> tuple[ProtoField, int]:
    tag, at = _varint(data, at)
    number, wire = tag >> 3, tag & 7
    if not 1 <= number <= _MOST_NUMBER or not room.take_item():
        raise _NotProtobufError
    if wire == 0:
        value, at = _varint(data, at)
        return ProtoField(number, "varint", str(value)), at
    if wire in {1, 5}:
        size = 8 if wire == 1 else 4
        end = _checked(data, at + size)
        return ProtoField(number, f"i{size * 8}", str(int.from_bytes(data[at:end], "little"))), end
    if wire == 2:  # noqa: PLR2004 -- the wire types are numbers in the standard too
        size, at = _varint(data, at)
        end = _checked(data, at + size)
        return _delimited(number, data[at:end], room, depth), end
    raise _NotProtobufError


def _delimited(number: int, data: bytes, room: Room, depth: int) -> ProtoField:
    text = _text(data)
    if text is not None:
        return ProtoField(number, "text", room.take_text(text)[0])
    try:
        if depth > 0:
            return ProtoField(number, "message", _fields(data, room, depth - 1))
    except _NotProtobufError:
        pass
    return ProtoField(number, "bytes", room.take_text(data[: room.chars // 2].hex())[0])


def _text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    # An empty one may be a text, bytes or a message; a message of one short field may look like a text: 0a 05 …
    plain = text.replace("\t", " ").replace("\n", " ").replace("\r", " ")
    return text if plain.isprintable() and not text.startswith(("\n", "\r", "\t")) else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_VARINT_BYTES):
        if at + place >= len(data):
            raise _NotProtobufError
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 -- the continuation bit
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
    raise _NotProtobufError


def _checked(data: bytes, end: int) -> int:
    if end > len(data):
        raise _NotProtobufError
    return end
