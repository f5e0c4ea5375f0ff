"""Where lines go: stdout, or a file that is turned over when it is large."""

import os
import sys
from pathlib import Path
from typing import IO, Protocol

_MODE = 0o640


class Sink(Protocol):
    """Takes lines; used by one thread."""

    def write(self, lines: bytes) -> None:
        """Write whole *lines*; raises OSError."""

    def close(self) -> None:
        """Give up what is held."""


class StdoutSink:
    """The standard output, which nothing else of the service uses."""

    def write(self, lines: bytes) -> None:
        """Write whole *lines*; raises OSError."""
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()

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
        self._file: IO[bytes] | None = None
        self._size = 0
        self._open()

    def write(self, lines: bytes) -> None:
        """Write whole *lines*; raises OSError."""
        if self._file is not None and self._moved(self._file):
            self.close()
        if self._size and self._size + len(lines) > self._max_bytes:
            self._turn_over()
        file = self._file or self._open()
        file.write(lines)
        self._size += len(lines)

    def close(self) -> None:
        """Close the file."""
        file, self._file, self._size = self._file, None, 0
        if file is not None:
            file.close()

    def _open(self) -> IO[bytes]:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _MODE)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        self._size = os.fstat(descriptor).st_size
        return self._file

    def _moved(self, file: IO[bytes]) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        mine = os.fstat(file.fileno())
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
