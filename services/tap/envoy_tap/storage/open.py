"""A data folder, opened: its keys, and its store, which no other process has."""

import errno
import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from envoy_tap.storage.keys import FILE_NAME as KEY_FILE_NAME
from envoy_tap.storage.keys import Keys, read_keys
from envoy_tap.storage.port import Store
from envoy_tap.storage.sqlite import SqliteStore

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


def opened(data: Path, key_file: Path | None) -> Storage:
    """Open the folder *data*, which is made if missing; raises OSError."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(data / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        keys = read_keys(key_file or data / KEY_FILE_NAME, make=key_file is None)
        return Storage(SqliteStore(data, keys), keys, lock)
    except BlockingIOError:
        os.close(lock)
        raise OSError(errno.EBUSY, f"another process serves {data}") from None
    except BaseException:
        os.close(lock)
        raise
