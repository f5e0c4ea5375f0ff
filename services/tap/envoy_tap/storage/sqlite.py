"""The embedded store: one SQLite file in WAL mode, for this user only; all content is encrypted.

In clear are ids, numbers, sizes and the times of creation. A session's key is in a table of its own, so that pages
that hold it are written twice only: when it is made and when it is destroyed.
"""

import errno
import json
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import as_object, summary
from envoy_tap.core.session import Limits
from envoy_tap.storage.keys import Keys, Sealer, SealError
from envoy_tap.storage.port import Change, Span, up_to_bytes
from envoy_tap.storage.snapshot import Snapshot

FILE_NAME = "tap.db"
_VERSION = 2
_SCHEMA = """
CREATE TABLE session (id TEXT PRIMARY KEY, created_at_s REAL NOT NULL, document BLOB NOT NULL,
    last_seq INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0, content_bytes INTEGER NOT NULL DEFAULT 0);
CREATE TABLE data_key (session TEXT PRIMARY KEY, wrapped BLOB NOT NULL);
CREATE TABLE summary (session TEXT, seq INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (session, seq)) WITHOUT ROWID;
CREATE TABLE payload (session TEXT, seq INTEGER, sealed BLOB NOT NULL, PRIMARY KEY (session, seq));
"""
# What the content of older ones was, nobody has counted; it was no more than what is stored of it.
_FROM_1 = """
ALTER TABLE session ADD COLUMN content_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE session SET content_bytes = bytes;
"""
LOG = logging.getLogger(__name__)


class SqliteStore:
    """Keeps everything in `<folder>/tap.db`; one connection, used by one thread at a time.

    Raises OSError for a file that is not an ordinary one of this user's, of another version, or with another key.
    """

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._keys = keys
        self._sealers: dict[str, Sealer] = {}
        self._limits: dict[str, Limits] = {}
        self._lock = threading.Lock()
        path = folder / FILE_NAME
        _claim(path)
        with _told():
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA secure_delete = ON")
            try:
                self._prepare(path)
                self._check_key(path)
            except OSError:
                self._db.close()
                raise

    def load(self) -> Iterator[Snapshot]:
        """Yield the sessions, oldest first; what cannot be read is logged, and left as it is."""
        with self._locked() as db:
            rows = db.execute("SELECT id, document FROM session ORDER BY created_at_s, id").fetchall()
        for session_id, document in rows:
            try:
                snapshot = Snapshot.decoded(self._open(session_id, "session", document))
                if snapshot.session.id != session_id:
                    raise ValueError("it is another session's")  # noqa: TRY301 - told as all others are
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                LOG.error("session %s cannot be read and is not served: %s: %s", session_id, type(error).__name__, error)  # fmt: skip
            else:
                yield snapshot

    @property
    def is_shared(self) -> bool:
        """False: the folder is this process's own."""
        return False

    def share_nodes(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: there is no other replica."""

    def nodes_elsewhere(self) -> Sequence[dict[str, Any]]:
        """Return nothing: there is no other replica."""
        return ()

    def listen(self, changed: Callable[[Change, str], None]) -> None:
        """Do nothing: there is no other replica."""

    def get(self, session_id: str) -> Snapshot:
        """Return a session."""
        with self._locked() as db:
            row = db.execute("SELECT document FROM session WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            raise KeyError(session_id)
        return Snapshot.decoded(self._open(session_id, "session", row[0]))

    def create(self, snapshot: Snapshot) -> None:
        """Keep a new session."""
        session_id = snapshot.session.id
        sealer, wrapped = self._keys.new_data_key(session_id)
        document = sealer.seal(snapshot.encoded(), f"{session_id}/session")
        with self._locked() as db, _transaction(db):
            db.execute("INSERT INTO data_key VALUES (?, ?)", (session_id, wrapped))
            db.execute(
                "INSERT INTO session (id, created_at_s, document) VALUES (?, ?, ?)",
                (session_id, snapshot.session.created_at_s, document),
            )

    def save(self, snapshot: Snapshot) -> None:
        """Keep what has become of a session."""
        session_id = snapshot.session.id
        with self._locked() as db, _transaction(db):
            document = self._sealer(session_id).seal(snapshot.encoded(), f"{session_id}/session")
            db.execute("UPDATE session SET document = ? WHERE id = ?", (document, session_id))

    def append(self, session_id: str, exchanges: Sequence[Exchange]) -> Sequence[int | None]:
        """Keep *exchanges* in one transaction; return the number of each, None for one beyond the session's limits."""
        limits = self._limits.get(session_id)
        if limits is None:
            limits = self._limits[session_id] = self.get(session_id).session.limits
        with self._locked():
            sealer = self._sealer(session_id)
        found = [(exchange, _json(as_object(exchange))) for exchange in exchanges]
        with self._locked() as db, _transaction(db):
            row = db.execute(
                "SELECT last_seq, content_bytes FROM session WHERE id = ?", (session_id,)
            ).fetchone()
            if row is None:
                raise KeyError(session_id)
            last_seq, content_bytes = row
            numbers: list[int | None] = []
            held_bytes = 0
            for exchange, payload in found:
                more_bytes = content_bytes + exchange.content_bytes
                if last_seq >= limits.exchanges or more_bytes > limits.bytes:
                    numbers.append(None)
                    continue
                last_seq, content_bytes = last_seq + 1, more_bytes
                numbers.append(last_seq)
                for table, text in (("summary", _json(summary(exchange, last_seq))), ("payload", payload)):
                    sealed = sealer.seal(text, f"{session_id}/{last_seq}/{table}")
                    db.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", (session_id, last_seq, sealed))  # noqa: S608 - ours
                    held_bytes += len(sealed)
            db.execute(
                "UPDATE session SET last_seq = ?, bytes = bytes + ?, content_bytes = ? WHERE id = ?",
                (last_seq, held_bytes, content_bytes, session_id),
            )
        return numbers

    def summaries(self, session_id: str, span: Span) -> Sequence[Mapping[str, Any]]:
        """Return the summaries in *span*."""
        return [data for _, data in self._read("summary", session_id, span)]

    def exchanges(self, session_id: str, span: Span) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return numbers and exchanges in *span*."""
        return self._read("payload", session_id, span)

    def last_seq(self, session_id: str) -> int:
        """Return the number of the newest exchange, 0 without one."""
        with self._locked() as db:
            row = db.execute("SELECT last_seq FROM session WHERE id = ?", (session_id,)).fetchone()
        if row is None:
            raise KeyError(session_id)
        return int(row[0])

    def sizes(self) -> Mapping[str, int]:
        """Return how many bytes each session takes."""
        with self._locked() as db:
            return dict(db.execute("SELECT id, bytes FROM session"))

    def delete(self, session_id: str) -> None:
        """Destroy a session's key, and remove it and all that was captured for it."""
        with self._locked() as db:
            self._sealers.pop(session_id, None)
            self._limits.pop(session_id, None)
            # First what makes it readable: a crash in the middle leaves rubbish that nobody can read.
            db.execute("DELETE FROM data_key WHERE session = ?", (session_id,))
            _checkpoint(db)
            with _transaction(db):
                for table, column in (("session", "id"), ("summary", "session"), ("payload", "session")):
                    db.execute(f"DELETE FROM {table} WHERE {column} = ?", (session_id,))  # noqa: S608 - ours
            _checkpoint(db)

    def close(self) -> None:
        """Close the file; idempotent."""
        with self._lock, _told():
            self._db.close()

    def _prepare(self, path: Path) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT")
        elif version == 1:
            self._db.executescript(f"BEGIN IMMEDIATE; {_FROM_1} PRAGMA user_version = {_VERSION}; COMMIT")
        elif version != _VERSION:
            raise OSError(f"{path} is of version {version}, and this service reads {_VERSION}")
        # What a crash in mid-deletion left: nobody can read it any more.
        for (session_id,) in self._db.execute(
            "SELECT id FROM session WHERE id NOT IN (SELECT session FROM data_key)"
        ).fetchall():
            self.delete(session_id)

    def _check_key(self, path: Path) -> None:
        wrapped = self._db.execute("SELECT session, wrapped FROM data_key").fetchall()
        for session_id, key in wrapped:
            with suppress(SealError):
                self._keys.data_key(session_id, key)
                return
        if wrapped:
            raise OSError(
                f"{path} was written with another key file; give that one, or move {path.name} away"
            )

    def _read(self, table: str, session_id: str, span: Span) -> list[tuple[int, Mapping[str, Any]]]:
        order = "DESC" if span.newest else "ASC"
        with self._locked() as db:
            found_rows = db.execute(
                f"SELECT seq, sealed FROM {table} WHERE session = ? AND seq > ? AND seq < ?"  # noqa: S608 - ours
                f" ORDER BY seq {order} LIMIT ?",
                (session_id, span.after, span.before, span.limit),
            )
            rows = list(up_to_bytes(found_rows))
            found_rows.close()
        found = [(seq, json.loads(self._open(session_id, f"{seq}/{table}", sealed))) for seq, sealed in rows]
        return found[::-1] if span.newest else found

    def _open(self, session_id: str, place: str, sealed: bytes) -> bytes:
        with self._locked():
            sealer = self._sealer(session_id)
        return sealer.open(sealed, f"{session_id}/{place}")

    def _sealer(self, session_id: str) -> Sealer:
        found = self._sealers.get(session_id)
        if found is None:
            row = self._db.execute("SELECT wrapped FROM data_key WHERE session = ?", (session_id,)).fetchone()
            if row is None:
                raise KeyError(session_id)
            found = self._sealers[session_id] = self._keys.data_key(session_id, row[0])
        return found

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _told():
            yield self._db


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":")).encode()


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(errno.EIO, f"{FILE_NAME}: {error}") from error


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _checkpoint(db: sqlite3.Connection) -> None:
    # The log holds what pages were before; emptied, it does not.
    (busy, *_) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise OSError(errno.EBUSY, f"{FILE_NAME}: another program reads it, so that nothing can be destroyed")


def _claim(path: Path) -> None:
    # In a folder that others can write to, a planted link must not receive what we store. SQLite's own files beside
    # this one get its mode.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "not an ordinary file of this user's", str(path))
        os.fchmod(file, 0o600)
    finally:
        os.close(file)
