"""Decoded bodies as JSON data."""

import base64
from dataclasses import asdict
from typing import Any

from envoy_tap.core.decode.exchange import Decoded
from envoy_tap.core.decode.model import (
    Binary,
    Body,
    Content,
    Empty,
    Form,
    Frame,
    Grpc,
    GrpcMessage,
    Image,
    Multipart,
    Part,
    ProtoField,
    Text,
    WebSocket,
)


def as_object(found: Decoded) -> dict[str, Any]:
    """Return *found* as JSON data, of the shape that the package's docstring gives."""
    return {
        "request": found.request and body_object(found.request),
        "response": found.response and body_object(found.response),
    }


def body_object(body: Body) -> dict[str, Any]:
    """Return one body as JSON data."""
    return {
        **_content(body.content),
        "media_type": body.media_type,
        "charset": body.charset,
        "bytes": body.size_bytes,
        "opened_bytes": body.opened_bytes,
        "codings": list(body.codings),
        "notes": list(body.notes),
    }


def _content(content: Content) -> dict[str, Any]:  # noqa: PLR0911 -- one for each kind
    match content:
        case Text(text, language):
            return {"kind": "text", "text": text, "language": language}
        case Form(fields):
            return {"kind": "form", "fields": [list(pair) for pair in fields]}
        case Multipart(parts):
            return {"kind": "multipart", "parts": [_part(part) for part in parts]}
        case Grpc(method, messages):
            return {"kind": "grpc", "method": method, "messages": [_message(each) for each in messages]}
        case WebSocket(frames):
            return {"kind": "websocket", "frames": [_frame(frame) for frame in frames]}
        case Image(media_type, data):
            return {"kind": "image", "image": media_type, "base64": base64.b64encode(data).decode()}
        case Binary(hexdump):
            return {"kind": "binary", "hexdump": hexdump}
        case Empty():
            return {"kind": "empty"}


def _part(part: Part) -> dict[str, Any]:
    headers = [list(pair) for pair in part.headers]
    return {
        "name": part.name,
        "filename": part.filename,
        "headers": headers,
        "body": body_object(part.body),
    }


def _frame(frame: Frame) -> dict[str, Any]:
    return _sized(asdict(frame))


def _message(message: GrpcMessage) -> dict[str, Any]:
    found = {name: getattr(message, name) for name in message.__slots__}
    return _sized({**found, "fields": [_field(each) for each in message.fields]})


def _field(field: ProtoField) -> dict[str, Any]:
    value = field.value if isinstance(field.value, str) else [_field(each) for each in field.value]
    return {"number": field.number, "wire": field.wire, "value": value}


def _sized(found: dict[str, Any]) -> dict[str, Any]:
    return {"bytes": found.pop("size_bytes"), **found}
