"""Stores of the tests, in a folder or in a Valkey of their own."""

from pathlib import Path

from envoy_tap.storage.keys import Keys
from envoy_tap.storage.sqlite import SqliteStore

MASTER = bytes(range(32))


def sqlite_store(folder: Path, *masters: bytes) -> SqliteStore:
    return SqliteStore(folder, Keys(*(masters or (MASTER,))))
