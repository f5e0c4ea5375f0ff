"""What was stored is there after a crash and cannot be read without the key; what was deleted is gone."""

import base64
import logging
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from envoy_tap.core.session import Limits
from envoy_tap.storage.keys import KEY_BYTES, Keys, SealError, read_keys
from envoy_tap.storage.open import opened
from envoy_tap.storage.port import Span
from envoy_tap.storage.snapshot import Snapshot
from envoy_tap.storage.sqlite import FILE_NAME
from tests.tap.building import REQUEST, exchange, session
from tests.tap.stores import MASTER, sqlite_store

ID, OTHER = "0123456789ab", "ba9876543210"


def test_nothing_of_what_is_stored_is_in_the_files_in_clear(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session(ID, 'header[x-user]="planted"')))
    store.append(ID, [exchange(tap_id=ID)])
    files = content(tmp_path)
    for clear in (b"planted", b"a test", b"alice", b"/orders", b"ping", b"edge-1"):
        assert clear not in files
    store.close()


def test_the_files_are_for_this_user_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = opened(tmp_path / "a" / "tap", None)
        storage.store.create(Snapshot(session(ID)))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a" / "tap").iterdir()}
    storage.close()
    assert set(modes) >= {"tap.db", "tap.db-wal", "tap.key"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE((tmp_path / "a" / "tap").stat().st_mode) == 0o700


def test_a_deleted_session_cannot_be_recovered_even_with_the_key_file(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    for session_id in (ID, OTHER):
        store.create(Snapshot(session(session_id)))
        store.append(session_id, [exchange(tap_id=session_id)] * 3)
    (wrapped,) = rows(tmp_path, "SELECT wrapped FROM data_key WHERE session = ?")
    sealed = [
        *rows(tmp_path, "SELECT sealed FROM payload WHERE session = ?"),
        *rows(tmp_path, "SELECT sealed FROM summary WHERE session = ?"),
        *rows(tmp_path, "SELECT document FROM session WHERE id = ?"),
    ]
    assert wrapped in content(tmp_path)
    assert len(sealed) == 7
    assert all(each in content(tmp_path) for each in sealed)
    store.delete(ID)
    left = content(tmp_path)
    assert wrapped not in left
    # Not even a part of it: 16 bytes of a key's ciphertext are too few to be there by chance.
    assert not any(wrapped[at : at + 16] in left for at in range(len(wrapped) - 16))
    assert not any(each[at : at + 16] in left for each in sealed for at in range(0, len(each) - 16, 16))
    assert [each.session.id for each in store.load()] == [OTHER]
    assert len(store.exchanges(OTHER, Span())) == 3
    store.close()


def test_a_crash_in_the_middle_of_a_deletion_leaves_no_session(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session(ID)))
    store.append(ID, [exchange(tap_id=ID)])
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("DELETE FROM data_key")
    db.close()
    store = sqlite_store(tmp_path)
    assert list(store.load()) == []
    assert store.sizes() == {}
    store.close()


KILLED = """
import sys
from pathlib import Path
from envoy_tap.storage.snapshot import Snapshot
from tests.tap.building import exchange, session
from tests.tap.stores import sqlite_store
store = sqlite_store(Path(sys.argv[1]))
store.create(Snapshot(session(sys.argv[2])))
while True:
    print(store.append(sys.argv[2], [exchange(tap_id=sys.argv[2])] * 5)[-1], flush=True)
"""


def test_what_was_acknowledged_is_there_after_kill_9(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(tmp_path), ID]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout is not None
        acknowledged = [int(writing.stdout.readline()) for _ in range(10)][-1]
        writing.send_signal(signal.SIGKILL)
        acknowledged = max([acknowledged, *(int(line) for line in writing.stdout if line.endswith("\n"))])
    store = sqlite_store(tmp_path)
    found = [seq for seq, _ in store.exchanges(ID, Span(limit=10_000))]
    assert found == list(range(1, len(found) + 1)), "each once"
    assert len(found) >= acknowledged
    assert len(found) % 5 == 0, "a batch is there whole or not at all"
    assert list(store.append(ID, [exchange(tap_id=ID)])) == [len(found) + 1]
    store.close()


def test_another_key_is_refused_and_an_older_one_still_opens(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session(ID)))
    store.close()
    with pytest.raises(OSError, match="was written with another key file"):
        sqlite_store(tmp_path, bytes(32))
    rotated = sqlite_store(tmp_path, bytes(32), MASTER)
    assert len(list(rotated.load())) == 1
    rotated.create(Snapshot(session(OTHER)))
    rotated.close()
    newer = sqlite_store(tmp_path, bytes(32))
    with caplog.at_level(logging.ERROR):
        assert [each.session.id for each in newer.load()] == [OTHER]
    assert f"session {ID} cannot be read" in caplog.text
    with pytest.raises(SealError, match="not wrapped by this key file"):
        newer.append(ID, [exchange(tap_id=ID)])
    newer.close()


def test_what_was_changed_or_moved_is_not_opened(tmp_path: Path) -> None:
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session(ID)))
    store.append(ID, [exchange(tap_id=ID)] * 2)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE payload SET sealed = (SELECT sealed FROM payload WHERE seq = 2) WHERE seq = 1")
    db.close()
    with pytest.raises(SealError):
        store.exchanges(ID, Span(limit=1))
    assert len(store.exchanges(ID, Span(after=1))) == 1
    store.close()


def test_a_store_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / FILE_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        sqlite_store(tmp_path / "link")
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / FILE_NAME).write_bytes(b"no database" * 100)
    with pytest.raises(OSError, match="not a database"):
        sqlite_store(tmp_path / "rubbish")
    (tmp_path / "newer").mkdir()
    with sqlite3.connect(tmp_path / "newer" / FILE_NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(OSError, match="version 99"):
        sqlite_store(tmp_path / "newer")


def test_a_file_of_an_older_version_is_taken_up_and_its_limits_hold(tmp_path: Path) -> None:
    limits = Limits(bytes=1 << 20)
    store = sqlite_store(tmp_path)
    store.create(Snapshot(session(ID, limits=limits)))
    store.append(ID, [exchange(tap_id=ID)])
    store.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        db.execute("ALTER TABLE session DROP COLUMN content_bytes")
        db.execute("PRAGMA user_version = 1")
    store = sqlite_store(tmp_path)
    assert [snapshot.session.limits for snapshot in store.load()] == [limits]
    assert list(store.append(ID, [exchange(tap_id=ID)])) == [2]
    nearly_all = exchange(replace(REQUEST, body=bytes(limits.bytes - 300)), tap_id=ID)
    assert list(store.append(ID, [nearly_all])) == [None]
    store.close()


def test_a_folder_is_served_by_one_process(tmp_path: Path) -> None:
    storage = opened(tmp_path, None)
    with pytest.raises(OSError, match="another process serves"):
        opened(tmp_path, None)
    storage.close()
    opened(tmp_path, None).close()


def test_the_key_file_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "tap.key"
    before = read_keys(path, make=True).derived("x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(base64.b64decode(path.read_bytes())) == KEY_BYTES
    assert read_keys(path, make=True).derived("x") == before
    assert read_keys(path, make=False).derived("y") != before


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "32 bytes in base64"),
        (base64.b64encode(bytes(16)), 0o600, "32 bytes in base64"),
        (b"\xff\x00 not base64", 0o600, "32 bytes in base64"),
        (base64.b64encode(bytes(32)), 0o644, "read by everyone"),
    ],
    ids=["empty", "short", "rubbish", "open"],
)
def test_a_key_file_that_cannot_be_used_is_named(
    tmp_path: Path, content: bytes, mode: int, said: str
) -> None:
    path = tmp_path / "tap.key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(OSError, match=said):
        read_keys(path, make=False)
    with pytest.raises(OSError, match="No such file"):
        read_keys(tmp_path / "none", make=False)


def test_equal_texts_look_different_and_a_place_is_part_of_them() -> None:
    sealer, wrapped = Keys(MASTER).new_data_key(ID)
    assert sealer.seal(b"x", "a") != sealer.seal(b"x", "a")
    assert Keys(MASTER).data_key(ID, wrapped).open(sealer.seal(b"x", "a"), "a") == b"x"
    for ask in (
        lambda: sealer.open(sealer.seal(b"x", "a"), "b"),
        lambda: Keys(MASTER).data_key(OTHER, wrapped),
    ):
        with pytest.raises(SealError):
            ask()


def content(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())


def rows(folder: Path, query: str) -> list[bytes]:
    db = sqlite3.connect(folder / FILE_NAME)
    try:
        return [row[0] for row in db.execute(query, (ID,))]
    finally:
        db.close()
