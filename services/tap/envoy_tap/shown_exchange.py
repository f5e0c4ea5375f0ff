"""One exchange as people read it on a terminal: both halves, decoded; what comes from traffic can't control it."""

import base64
from collections.abc import Iterator
from typing import Any

from envoy_tap.core.decode.layout import hexdump
from envoy_tap.shown import plain, size

_INDENT = "    "


def exchange_text(found: dict[str, Any]) -> str:
    """Return what the API says of one exchange (`summary`, `exchange`, `decoded`), a line each."""
    return "\n".join(map(_safe, _lines(found)))


def half_text(name: str, line: str, half: dict[str, Any], body: dict[str, Any] | None) -> str:
    """Return one half: its first *line*, headers and decoded body."""
    return "\n".join(map(_safe, _half(name, line, half, body)))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    summary, exchange, decoded = found["summary"], found["exchange"], found["decoded"]
    took_ms = summary["duration_ms"]
    took = "" if took_ms is None else f", {took_ms:.1f} ms"
    yield f"exchange {summary['seq']} of session {summary['session']}: {summary['time']}{took}"
    yield f"  seen by {summary['node']['id']} ({summary['node']['cluster']})"
    told = {
        **{f"source {name}": value for name, value in exchange["source"].items()},
        **exchange.get("facts", {}),
    }
    for name, value in told.items():
        if value:
            yield f"  {name.replace('_', ' ')}: {value}"
    if summary["flags"]:
        yield f"  {', '.join(summary['flags'])}"
    yield ""
    if "socket" in exchange:
        for event in exchange["socket"]:
            yield from _event(event)
        return
    scheme, authority = summary["scheme"] or "", summary["authority"] or ""
    line = f"{summary['method'] or '?'} {summary['path'] or '?'}"
    yield from _half("request", line, exchange["request"], decoded["request"], f"{scheme}://{authority}")
    yield ""
    status = "no status" if summary["status"] is None else str(summary["status"])
    yield from _half("response", status, exchange["response"], decoded["response"])


def _event(event: dict[str, Any]) -> Iterator[str]:
    is_binary = event.get("encoding") == "base64"
    data = base64.b64decode(event["data"]) if is_binary else event["data"].encode()
    arrow = "<" if event["from"] == "peer" else ">"
    yield f"{arrow} {event['time']} from the {event['from']}, {size(len(data))}"
    yield from _indented(
        hexdump(data, len(data)) if is_binary else event["data"].replace("\r\n", "\n"), _INDENT
    )


def _half(
    name: str, line: str, half: dict[str, Any] | None, body: dict[str, Any] | None, origin: str = ""
) -> Iterator[str]:
    if half is None or body is None:
        yield f"the {name} was not captured"
        return
    yield f"{line}   {origin}".rstrip()
    yield from (f"  {key}: {_value(value)}" for key, value in half["headers"])
    if body["kind"] != "empty":
        yield ""
        yield from _body(body)
    if half["trailers"]:
        yield ""
        yield from (f"  {key}: {_value(value)}" for key, value in half["trailers"])


def _body(body: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    facts = [body["kind"], body.get("language") or body.get("image"), body["charset"], *body["codings"]]
    yield f"{indent}({', '.join(str(fact) for fact in facts if fact)}, {size(body['bytes'])})"
    yield from (f"{indent}({note})" for note in body["notes"])
    match body["kind"]:
        case "text":
            yield from _indented(body["text"], indent)
        case "binary":
            yield from _indented(body["hexdump"], indent)
        case "form":
            yield from (f"{indent}{name} = {value}" for name, value in body["fields"])
        case "multipart":
            for part in body["parts"]:
                yield f"{indent}part {part['name']} {part['filename']}".rstrip()
                yield from _body(part["body"], indent + _INDENT)
        case "grpc":
            for number, message in enumerate(body["messages"], 1):
                yield from _message(number, message, indent)
        case "websocket":
            for number, frame in enumerate(body["frames"], 1):
                yield f"{indent}frame {number}: {frame['opcode']}, {frame['bytes']} bytes{_state(frame)}"
                yield from _indented(frame["text"] or frame["hexdump"], indent + _INDENT)


def _message(number: int, message: dict[str, Any], indent: str) -> Iterator[str]:
    named = f" {message['type']}" if message["type"] else ""
    yield f"{indent}message {number}{named}, {message['bytes']} bytes{_state(message)}"
    yield from _indented(message["text"] or message["hexdump"], indent + _INDENT)
    yield from _fields(message["fields"], indent + _INDENT)


def _fields(fields: list[dict[str, Any]], indent: str) -> Iterator[str]:
    for field in fields:
        if isinstance(field["value"], str):
            yield f"{indent}{field['number']} ({field['wire']}): {field['value']}"
        else:
            yield f"{indent}{field['number']} ({field['wire']}):"
            yield from _fields(field["value"], indent + _INDENT)


def _state(piece: dict[str, Any]) -> str:
    return (", compressed" if piece["compressed"] else "") + ("" if piece["complete"] else ", cut off")


def _indented(text: str, indent: str) -> Iterator[str]:
    return (indent + line for line in text.split("\n")) if text else iter(())


def _value(value: Any) -> str:
    return value if isinstance(value, str) else f"base64 {value['base64']}"


def _safe(line: str) -> str:
    # A tab only moves on; a line's end within a value does not make another line.
    return "\t".join(plain(part) for part in line.split("\t"))
