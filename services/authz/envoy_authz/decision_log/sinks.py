"""Where decisions go as text: stdout, or a file that is turned over when it is large; a JSON object a line."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from envoy_authz.decision_log.shape import Shown

_MODE = 0o640
_ATOMIC_BYTES = 4096
"""What Linux writes to a pipe as one piece (PIPE_BUF), so that lines of several workers don't mix."""


class Sink(Protocol):
    """Takes decisions; used by one thread."""

    def write(self, decisions: Sequence[Shown]) -> None:
        """Write *decisions*, all of them; raises any exception if they can't be."""

    def close(self) -> None:
        """Give up what is held."""


def line(decision: Shown) -> bytes:
    """Return *decision* as a line of JSON in ASCII."""
    return json.dumps(decision, separators=(",", ":")).encode("ascii") + b"\n"


class StdoutSink:
    """The standard output, which nothing else of the service uses."""

    def write(self, decisions: Sequence[Shown]) -> None:
        """Write *decisions*; raises OSError."""
        for piece in _pieces(decisions):
            _write(sys.stdout.fileno(), piece)

    def close(self) -> None:
        """Do nothing: it is not ours."""


class FileSink:
    """A file of at most *max_bytes*, with *keep* older ones beside it: FILE.1 is the newest of them.

    A file that another program moved away (logrotate) is opened anew.
    """

    def __init__(self, path: Path, *, max_bytes: int = 100 * 1024 * 1024, keep: int = 5) -> None:
        """Open the file; raises OSError."""
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1
        self._size = 0
        self._open()

    def write(self, decisions: Sequence[Shown]) -> None:
        """Write *decisions*; raises OSError."""
        lines = b"".join(map(line, decisions))
        if self._descriptor >= 0 and self._moved():
            self.close()
        if self._size and self._size + len(lines) > self._max_bytes:
            self._turn_over()
        if self._descriptor < 0:
            self._open()
        _write(self._descriptor, lines)
        self._size += len(lines)

    def close(self) -> None:
        """Close the file."""
        descriptor, self._descriptor, self._size = self._descriptor, -1, 0
        if descriptor >= 0:
            os.close(descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, _MODE)
        self._size = os.fstat(self._descriptor).st_size

    def _moved(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _turn_over(self) -> None:
        self.close()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number - 1) if number > 1 else self._path
            if older.exists():
                older.replace(self._numbered(number))
        if not self._keep:
            self._path.unlink(missing_ok=True)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _pieces(decisions: Sequence[Shown]) -> Iterator[bytes]:
    """Yield whole lines, as many at once as are written as one piece."""
    piece = b""
    for decision in decisions:
        text = line(decision)
        if piece and len(piece) + len(text) > _ATOMIC_BYTES:
            yield piece
            piece = b""
        piece += text
    if piece:
        yield piece


def _write(descriptor: int, data: bytes) -> None:
    """Write all of *data*: one call may write a part of it, as when the disk is nearly full."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
