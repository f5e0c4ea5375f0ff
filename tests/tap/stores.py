"""Stores of the tests, in a folder or in a Valkey of their own."""

from pathlib import Path

from envoy_tap.storage.keys import Keys
from envoy_tap.storage.redis import RedisStore
from envoy_tap.storage.sqlite import SqliteStore

MASTER = bytes(range(32))


def redis_store(url: str, *masters: bytes, keep_s: float = 3600.0) -> RedisStore:
    return RedisStore(url, Keys(*(masters or (MASTER,))), keep_s)


def sqlite_store(folder: Path, *masters: bytes) -> SqliteStore:
    return SqliteStore(folder, Keys(*(masters or (MASTER,))))
