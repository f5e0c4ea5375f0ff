"""Sessions on disk: one folder each, for this user only, so that a crash neither forgets nor prolongs one."""

import json
import logging
import os
import re
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from envoy_tap.core.session import Progress, State
from envoy_tap.core.spec import as_object, stored

FOLDER = "sessions"
EXCHANGES = "exchanges.jsonl"
_MAX_READ_BYTES = 4 << 20
_FILE = "session.json"
_ID = re.compile(r"[0-9a-f]{12}")
LOG = logging.getLogger(__name__)


class SessionStore:
    """Keeps sessions below `<data>/sessions/<id>/`, which is made with the first.

    What is saved is on disk when `save` returns, whole or as it was before. `lock` is held by who writes below a
    session's folder, which must not come back once it is deleted.
    """

    def __init__(self, data: Path) -> None:
        self.lock = threading.Lock()
        self._folder = data / FOLDER

    def folder_of(self, session_id: str) -> Path:
        """Return the folder of a session; raises KeyError for what is no session's id."""
        if not _ID.fullmatch(session_id):
            raise KeyError(session_id)
        return self._folder / session_id

    def save(self, session_id: str, snapshot: bytes) -> None:
        """Write the `snapshot` of a session; raises OSError."""
        folder = self.folder_of(session_id)
        with self.lock:
            for each in (self._folder, folder):
                each.mkdir(mode=0o700, exist_ok=True)
            _write_whole(folder / _FILE, snapshot)

    def has(self, session_id: str) -> bool:
        """Whether a session is stored."""
        return (self.folder_of(session_id) / _FILE).exists()

    def load(self) -> Iterator[Progress]:
        """Yield what is stored, oldest first; what cannot be read is logged and left where it is."""
        found = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if _ID.fullmatch(folder.name):
                try:
                    found.append(_read(json.loads((folder / _FILE).read_bytes()), folder.name))
                except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                    LOG.error("session %s cannot be read and is not served: %s: %s", folder.name, type(error).__name__, error)  # fmt: skip
        yield from sorted(found, key=lambda progress: progress.session.created_at_s)

    def last(self, session_id: str, most: int) -> list[dict[str, Any]]:
        """Return the last exchanges of a session, as they were stored, *most* of them at most."""
        try:
            with (self.folder_of(session_id) / EXCHANGES).open("rb") as file:
                size_bytes = file.seek(0, os.SEEK_END)
                file.seek(max(0, size_bytes - _MAX_READ_BYTES))
                # What does not begin at a line's beginning, or does not end at its end, is no line.
                lines = file.read().split(b"\n")[bool(size_bytes > _MAX_READ_BYTES) : -1]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines[-most:]] if most else []

    def delete(self, session_id: str) -> None:
        """Remove a session and all that was captured for it; raises OSError."""
        folder = self.folder_of(session_id)
        with self.lock:
            # First what makes it a session: a crash in the middle leaves rubbish, and no session.
            (folder / _FILE).unlink(missing_ok=True)
            shutil.rmtree(folder)


def snapshot(progress: Progress) -> bytes:
    """Return *progress* as it is now, to be saved."""
    data = {
        "session": as_object(progress.session),
        "state": str(progress.state),
        "ended_at_s": progress.ended_at_s,
        "ended_by": progress.ended_by,
        "counts": dict(progress.counts),
    }
    return json.dumps(data).encode() + b"\n"


def _read(data: dict[str, Any], session_id: str) -> Progress:
    session = stored(data["session"])
    if session.id != session_id:
        raise ValueError("it is another session's")
    counts = Counter({str(name): int(count) for name, count in data["counts"].items()})
    ended_at_s = data["ended_at_s"]
    return Progress(
        session,
        State(data["state"]),
        None if ended_at_s is None else float(ended_at_s),
        str(data["ended_by"]),
        counts,
    )


def _write_whole(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.write(file, content)
        os.fsync(file)
    finally:
        os.close(file)
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
