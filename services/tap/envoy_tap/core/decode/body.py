"""One body, read: codings off, then by what it is declared as, by what it looks like, and as bytes at last."""

from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from envoy_tap.core.decode import charsets, parts
from envoy_tap.core.decode.codings import Opened, dechunked, listed, opened
from envoy_tap.core.decode.grpc import Call, is_grpc, read_grpc
from envoy_tap.core.decode.images import image_type
from envoy_tap.core.decode.layout import hexdump, is_json, json_lines
from envoy_tap.core.decode.model import (
    Binary,
    Body,
    Content,
    Empty,
    Form,
    Image,
    Limits,
    Multipart,
    Part,
    Room,
    Schema,
    Text,
)
from envoy_tap.core.decode.websocket import read_frames
from envoy_tap.core.events import Side
from envoy_tap.core.exchange import Message
from envoy_tap.core.predicate.evaluator import joined

_MOST_CODINGS = 4
_MOST_NESTED = 3
_MOST_FIELDS = 1000
_LANGUAGES = {
    "xml": "xml",
    "html": "html",
    "css": "css",
    "javascript": "javascript",
    "ecmascript": "javascript",
}
_BINARY = ("image/", "audio/", "video/", "font/", "application/octet-stream", "application/zip")


@dataclass(frozen=True, slots=True)
class Context:
    """What must be known beside the message: `method` is the request's path, `cut` that the body may go on."""

    side: Side
    method: str = ""
    upgraded: bool = False
    cut: bool = False
    schema: Schema | None = None


def read_body(message: Message, context: Context, room: Room) -> Body:
    """Return the body of *message*, read as far as there is *room*; never raises for what a peer can send."""
    content_type = (joined(message.headers, "content-type") or b"").decode("latin-1")
    if not message.body:
        return Body(Empty(), _media_type(content_type))
    if context.upgraded:
        frames, notes = read_frames(message.body, room)
        size_bytes = len(message.body)
        return Body(frames, size_bytes=size_bytes, opened_bytes=size_bytes, notes=_said(notes))
    data, codings, notes = _open(message, room)
    read = _read(data, content_type, context, room, message)
    return replace(
        read,
        size_bytes=len(message.body),
        opened_bytes=len(data),
        codings=codings,
        notes=_said([*notes, *read.notes]),
    )


def plain_body(message: Message, limits: Limits = Limits()) -> bytes:  # noqa: B008 -- a frozen value
    """Return the body of *message* out of its codings, as far as *limits* go."""
    return _open(message, Room(limits))[0]


def _open(message: Message, room: Room) -> tuple[bytes, tuple[str, ...], list[str]]:
    data = message.body
    taken: list[str] = []
    notes: list[str] = []
    transfer = listed(joined(message.headers, "transfer-encoding") or b"")
    # Proxies hand over what was in the chunks, and leave the header as it was; sockets hand over the chunks.
    unchunked = dechunked(data) if transfer[-1:] == ("chunked",) else None
    if unchunked is not None:
        data = _taken("chunked", unchunked, taken, notes)
    for coding in reversed(listed(joined(message.headers, "content-encoding") or b"")[:_MOST_CODINGS]):
        found = None if _is_plain(data) else opened(data, coding, room.opened_bytes)
        if found is None:
            notes.append(
                f"declared as {coding[:40]}: the collector opened it before it was stored, or it never was that"
            )
            break
        room.opened_bytes -= len(found.data)
        data = _taken(coding, found, taken, notes)
    return data, tuple(taken), notes


def _taken(coding: str, found: Opened, taken: list[str], notes: list[str]) -> bytes:
    taken.append(coding)
    if not found.complete:
        notes.append(f"{coding}: this is not all that is inside")
    return found.data


def _is_plain(data: bytes) -> bool:
    # The collector opens what it redacts: the header then says what the body was. No compressed data reads as text.
    return charsets.found_text(data, cut=True) is not None


def _read(data: bytes, content_type: str, context: Context, room: Room, message: Message) -> Body:
    media_type = _media_type(content_type)
    if is_grpc(media_type):
        encoding = (joined(message.headers, "grpc-encoding") or b"").decode("latin-1").strip().lower()
        call = Call(context.method.partition("?")[0], context.side, encoding, context.schema)
        grpc, notes = read_grpc(data, media_type, call, room)
        if grpc.messages:
            return Body(grpc, media_type, notes=tuple(notes))
    return _read_plain(data, content_type, context.cut, room, _MOST_NESTED)


def _read_plain(data: bytes, content_type: str, cut: bool, room: Room, nested: int) -> Body:
    media_type = _media_type(content_type)
    if not data:
        return Body(Empty(), media_type)
    if media_type.startswith("multipart/") and nested:
        found = _multipart(data, content_type, cut, room, nested)
        if found is not None:
            return found
    image = image_type(data, media_type)
    if image:
        is_short = len(data) <= room.limits.image_bytes
        notes = () if is_short else (f"the image is longer than {room.limits.image_bytes} bytes",)
        return Body(Image(image, data if is_short else b""), media_type, notes=notes)
    return _characters(data, content_type, cut, room)


def _characters(data: bytes, content_type: str, cut: bool, room: Room) -> Body:
    media_type = _media_type(content_type)
    is_text = not media_type.startswith(_BINARY) or media_type == "image/svg+xml"
    # No more is shown than there is room for, so no more is decoded: a character takes four bytes at most.
    sample = data[: 4 * room.chars]
    cut = cut or len(sample) < len(data)
    found = (
        charsets.declared_text(sample, parts.parameter(content_type, "charset"), cut=cut) if is_text else None
    ) or charsets.found_text(sample, cut=cut)
    if found is None and is_text and _is_said_to_be_text(media_type):
        found = charsets.guessed_text(sample)
    if found is None:
        return _binary(data, media_type, room)
    notes = [found.note] if found.note else []
    content, is_all = _content(found.text, media_type, room)
    if not is_all or len(sample) < len(data):
        notes.append("there is more of it than is shown")
    return Body(content, media_type, found.charset, notes=tuple(notes))


def _content(text: str, media_type: str, room: Room) -> tuple[Content, bool]:
    if media_type == "application/x-www-form-urlencoded":
        fields = _form(text, room)
        if fields is not None:
            return Form(fields[0]), fields[1]
    language = "json" if "json" in media_type or is_json(text) else _language(media_type)
    if language == "json":
        set_out, is_all = room.take_text(json_lines(text, room.chars))
        return Text(set_out, "json"), is_all
    shown, is_all = room.take_text(text)
    return Text(shown, language), is_all


def _form(text: str, room: Room) -> tuple[tuple[tuple[str, str], ...], bool] | None:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="replace")
    except ValueError:
        return None
    fields, is_all = [], True
    for name, value in pairs:
        (shown_name, all_of_name), (shown, all_of_value) = room.take_text(name), room.take_text(value)
        is_all = is_all and all_of_name and all_of_value and room.take_item()
        fields.append((shown_name, shown))
    return (tuple(fields), is_all) if fields else None


def _multipart(data: bytes, content_type: str, cut: bool, room: Room, nested: int) -> Body | None:
    boundary = parts.parameter(content_type, "boundary")
    found, notes = [], []
    for headers, content, is_whole in parts.split(data, boundary.encode("latin-1", "replace")):
        if not room.take_item():
            notes.append("there are more parts")
            break
        named = dict(headers)
        disposition = named.get("content-disposition", "")
        body = _read_plain(content, named.get("content-type", ""), cut or not is_whole, room, nested - 1)
        body = replace(body, size_bytes=len(content), opened_bytes=len(content), notes=_said(body.notes))
        name, filename = (parts.parameter(disposition, each) for each in ("name", "filename"))
        found.append(Part(name, filename, headers, body))
        if not is_whole:
            notes.append("the last part has no end")
    return Body(Multipart(tuple(found)), _media_type(content_type), notes=tuple(notes)) if found else None


def _binary(data: bytes, media_type: str, room: Room) -> Body:
    shown_bytes = room.limits.hexdump_bytes
    text, _ = room.take_text(hexdump(data, shown_bytes))
    notes = (f"the first {shown_bytes} bytes of {len(data)}",) if len(data) > shown_bytes else ()
    return Body(Binary(text), media_type, notes=notes)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()[:200]


def _is_said_to_be_text(media_type: str) -> bool:
    return media_type.startswith("text/") or "json" in media_type or bool(_language(media_type))


def _language(media_type: str) -> str:
    subtype = media_type.rpartition("/")[2].rpartition("+")[2]
    return next((language for name, language in _LANGUAGES.items() if subtype.endswith(name)), "")


def _said(notes: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))
