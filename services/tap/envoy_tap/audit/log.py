"""The audit log's file: lines of JSON that are only ever added, on disk before what they tell happens."""

import errno
import logging
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from envoy_tap.audit.entry import Entry
from envoy_tap.audit.head import Head

FILE_NAME = "audit.jsonl"
HEAD_FILE_NAME = "audit.head"
SERVICE = "service"
_MAX_TAIL_BYTES = 1 << 20
LOG = logging.getLogger(__name__)


class AuditLog:
    """Appends to `<folder>/audit.jsonl`; from any thread, never on the event loop, as each entry is a fsync.

    *keys* are derived of the key file; the first writes, the others wrote before. When the log does not end where its head says, that is an entry of its own
    (`gap`), so that going on hides nothing. Raises OSError if the file can't be used.
    """

    def __init__(self, folder: Path, keys: Sequence[bytes], clock: Callable[[], float] = time.time) -> None:
        self._path = folder / FILE_NAME
        self._head_path = folder / HEAD_FILE_NAME
        self._keys = keys
        self._clock = clock
        self._head = Head()
        self._lock = threading.Lock()
        self._file = _opened(self._path)
        try:
            self._take_up()
        except BaseException:
            os.close(self._file)
            raise

    @property
    def head(self) -> Head:
        """The number and hash of the last entry."""
        return self._head

    def append(
        self,
        who: str,
        role: str,
        action: str,
        session: str = "",
        *,
        outcome: str = "ok",
        detail: Mapping[str, Any] | None = None,
    ) -> Entry:
        """Add an entry, which is on disk on return; raises OSError, and then it is not there."""
        with self._lock:
            return self._append(
                Entry(0, "", who, role, action, session, outcome, detail if detail is not None else {})
            )

    def last(self, most: int) -> Sequence[Entry]:
        """Return the last entries, oldest first, *most* (1 or more) of them at most; raises OSError."""
        with self._lock:
            size_bytes = os.fstat(self._file).st_size
            lines = _tail(self._file, size_bytes)
        return [entry for entry in map(_read, lines[-most:]) if entry is not None]

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _append(self, told: Entry) -> Entry:
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds")
        entry = replace(told, seq=self._head.seq + 1, time=now.replace("+00:00", "Z"))
        entry = replace(entry, hash=entry.hashed(self._keys[0], self._head.hash))
        size_bytes = os.fstat(self._file).st_size
        try:
            _write(self._file, entry.line())
            os.fsync(self._file)
            head = Head(entry.seq, entry.hash)
            head.write(self._head_path, self._keys[0])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, size_bytes)
            raise
        self._head = head
        return entry

    def _take_up(self) -> None:
        size_bytes = os.fstat(self._file).st_size
        *lines, torn = _tail(self._file, size_bytes, torn=True)
        if torn:
            # A crash in mid-write: it was never acknowledged.
            os.ftruncate(self._file, size_bytes - len(torn))
        told = self._told()
        last = next((entry for entry in map(_read, reversed(lines)) if entry is not None), None)
        self._head = Head() if last is None else Head(last.seq, last.hash)
        is_whole = not lines or _read(lines[-1]) is not None
        if is_whole and self._head == (told or Head()):
            return
        if is_whole and told is not None and last is not None and self._follows(last, told):
            # A crash after an entry and before its head; only who has the key can have written it.
            return
        LOG.error("the audit log does not end where its head says; envoy-tap audit verify tells more")
        expected = None if told is None else {"seq": told.seq, "hash": told.hash}
        detail = {"found": {"seq": self._head.seq, "hash": self._head.hash}, "expected": expected}
        self._append(Entry(0, "", SERVICE, "", "gap", detail=detail))

    def _follows(self, last: Entry, told: Head) -> bool:
        return last.seq == told.seq + 1 and last.holds(self._keys, told.hash)

    def _told(self) -> Head | None:
        try:
            return Head.read(self._head_path, self._keys)
        except ValueError as error:
            LOG.error("%s: %s", self._head_path, error)
            return None


def _read(line: bytes) -> Entry | None:
    try:
        return Entry.read(line)
    except ValueError:
        return None


def _tail(file: int, size_bytes: int, *, torn: bool = False) -> list[bytes]:
    """Return the last whole lines of *file*; with *torn*, as the last one, what stands after them."""
    held_bytes = min(size_bytes, _MAX_TAIL_BYTES)
    text = os.pread(file, held_bytes, size_bytes - held_bytes)
    lines = deque(text.splitlines(keepends=True))
    if held_bytes < size_bytes and lines:
        lines.popleft()
    rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
    return [*lines, rest] if torn else list(lines)


def _write(file: int, line: bytes) -> None:
    written_bytes = 0
    while written_bytes < len(line):
        written_bytes += os.write(file, line[written_bytes:])


def _opened(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    file = os.open(path, flags, 0o600)
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(file)
        raise PermissionError(errno.EPERM, "not an ordinary file of this user's", str(path))
    os.fchmod(file, 0o600)
    return file
