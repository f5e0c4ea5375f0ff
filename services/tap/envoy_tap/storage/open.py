"""A data folder, opened: its keys, and its store, which no other process has."""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from envoy_tap.storage.keys import FILE_NAME as KEY_FILE_NAME
from envoy_tap.storage.keys import Keys, read_keys
from envoy_tap.storage.port import EMBEDDED, Store
from envoy_tap.storage.redis import RedisStore
from envoy_tap.storage.retention import Retention
from envoy_tap.storage.sqlite import SqliteStore

DEFAULT_RETENTION = Retention()
_LOCK_FILE = "lock"


@dataclass(frozen=True, slots=True)
class Storage:
    """What a service stores with."""

    store: Store
    keys: Keys
    lock: int

    def close(self) -> None:
        """Let go of the store, and of the folder."""
        self.store.close()
        os.close(self.lock)


def opened(
    data: Path,
    key_file: Path | None,
    store_url: str = EMBEDDED,
    retention: Retention = DEFAULT_RETENTION,
) -> Storage:
    """Open the folder *data*, which is made if missing, and the store at *store_url*; raises OSError."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        keys = read_keys(key_file or data / KEY_FILE_NAME, make=key_file is None)
        store = (
            SqliteStore(data, keys)
            if store_url == EMBEDDED
            else RedisStore(store_url, keys, retention.keep_s)
        )
        return Storage(store, keys, lock)
    except BlockingIOError:
        os.close(lock)
        raise OSError(errno.EBUSY, f"another process serves {data}") from None
    except BaseException:
        os.close(lock)
        raise
