"""Where exchanges go: JSON lines in a folder that only this user can read."""

import base64
import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, Protocol

from envoy_tap.core.exchange import Exchange, Message, Pairs

FILE_NAME = "exchanges.jsonl"
OLDER_FILE_NAME = "exchanges.1.jsonl"
DEFAULT_MAX_FILE_BYTES = 64 << 20

# RFC 9110, 15.
_STATUS = re.compile(rb"[0-9]{3}")


class ExchangeSink(Protocol):
    """Stores exchanges; called by one thread at a time, never on the event loop, so it may block."""

    def write(self, batch: Sequence[Exchange]) -> None:
        """Store *batch* so that a reader sees all of it on return; raises OSError if it cannot."""

    def close(self) -> None:
        """Let go of what is held open; idempotent."""


class JsonLinesSink:
    """Appends to `<folder>/exchanges.jsonl`, one object a line, as *as_object* describes; one sink a folder.

    The folder is made with mode 0700 (one that exists keeps its own), the file with 0600. When a line would take the
    file over *max_file_bytes* the file becomes `exchanges.1.jsonl`, in place of the one before: on disk are at most
    twice as many bytes (and one line, should it alone be longer). The file may be moved or deleted at any time. Raises
    OSError if the folder or file cannot be made, or if the file is not an ordinary one of this user's.
    """

    def __init__(self, folder: Path, max_file_bytes: int = DEFAULT_MAX_FILE_BYTES) -> None:
        self._path = folder / FILE_NAME
        self._older_path = folder / OLDER_FILE_NAME
        self._max_file_bytes = max_file_bytes
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _opened(self._path).close()

    def write(self, batch: Sequence[Exchange]) -> None:
        """Append *batch*; if the disk refuses, raises OSError and leaves the whole lines before, no part of one."""
        for line in map(_line, batch):
            self._make_room(len(line))
            with _opened(self._path) as file:
                _append(file, line)

    def close(self) -> None:
        """Do nothing: the file is open only while `write` runs."""

    def _make_room(self, line_bytes: int) -> None:
        with suppress(FileNotFoundError):
            held_bytes = self._path.lstat().st_size
            if held_bytes and held_bytes + line_bytes > self._max_file_bytes:
                self._path.replace(self._older_path)


def _opened(path: Path) -> FileIO:
    file = FileIO(path, "ab+", opener=_open)
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not an ordinary file of this user's", str(path))
        os.fchmod(file.fileno(), 0o600)
        if found.st_size and os.pread(file.fileno(), 1, found.st_size - 1) != b"\n":
            # A process killed in mid-write left half a line: the next one must not be glued to it.
            _append(file, b"\n")
    except OSError:
        file.close()
        raise
    return file


def _open(path: str, flags: int) -> int:
    # In a folder that others can write to, a planted link or pipe must not receive clear text, nor make us wait.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def _append(file: FileIO, line: bytes) -> None:
    size_bytes = os.fstat(file.fileno()).st_size
    try:
        written_bytes = 0
        while written_bytes < len(line):
            written_bytes += file.write(memoryview(line)[written_bytes:])
    except OSError:
        file.truncate(size_bytes)
        raise


def _line(exchange: Exchange) -> bytes:
    # ASCII only: U+2028, U+0085 and others end a line for many readers, and a terminal obeys C1 controls.
    return json.dumps(as_object(exchange), separators=(",", ":")).encode() + b"\n"


def as_object(exchange: Exchange) -> dict[str, Any]:
    r"""Return *exchange* as JSON data.

    `facts` has those of `exchange.Facts` that the driver tells. `time` and `finished` are RFC 3339 in UTC with microseconds; `trace_id` is a decimal string, as in proto3's JSON
    mapping of uint64; a half of which nothing came is null. Pseudo-headers are fields (`method`, `status`), not in
    `headers`; a status that is not of three digits is null. What is not UTF-8 is base64: a body is marked by
    `body_encoding`, a header's or trailer's value is `{"base64": "..."}` in place of the string. In a pseudo-header
    such bytes are written as `\xhh`.
    """
    return {
        "time": _rfc3339(exchange.started_s),
        "finished": _rfc3339(exchange.finished_s),
        "node": {"id": exchange.node.id, "cluster": exchange.node.cluster},
        "tap_id": exchange.tap_id,
        "trace_id": str(exchange.trace_id),
        "source": {
            "address": exchange.source_address or None,
            "principal": exchange.source_principal or None,
        },
        "facts": {name: value for name, value in asdict(exchange.facts).items() if value},
        "request": exchange.request and _request(exchange.request),
        "response": exchange.response and _response(exchange.response),
        "flags": {"truncated": exchange.truncated, "incomplete": exchange.incomplete},
    }


def _rfc3339(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _request(message: Message) -> dict[str, Any]:
    pseudo = {name: _pseudo(message, f":{name}") for name in ("method", "scheme", "authority", "path")}
    return {**pseudo, **_content(message)}


def _response(message: Message) -> dict[str, Any]:
    status = message.first(":status") or b""
    return {"status": int(status) if _STATUS.fullmatch(status) else None, **_content(message)}


def _pseudo(message: Message, name: str) -> str | None:
    value = message.first(name)
    return None if value is None else value.decode(errors="backslashreplace")


def _content(message: Message) -> dict[str, Any]:
    try:
        body = {"body": message.body.decode()}
    except UnicodeDecodeError:
        body = {"body": base64.b64encode(message.body).decode(), "body_encoding": "base64"}
    headers = tuple((name, value) for name, value in message.headers if not name.startswith(":"))
    return {"headers": _listed(headers), **body, "trailers": _listed(message.trailers)}


def _listed(pairs: Pairs) -> list[list[Any]]:
    return [[name, _text(value)] for name, value in pairs]


def _text(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
