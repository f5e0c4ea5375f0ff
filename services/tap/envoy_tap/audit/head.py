"""The head of the audit log, kept beside it: which entry is the last, so that a log cut short is noticed."""

import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from envoy_tap.audit.entry import START


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last entry; 0 and `START` before the first."""

    seq: int = 0
    hash: str = START

    @classmethod
    def read(cls, path: Path, keys: Sequence[bytes]) -> Self | None:
        """Return the head of a file, None without one; raises ValueError if none of *keys* wrote it, OSError."""
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            data = json.loads(text)
            head = cls(int(data["seq"]), str(data["hash"]))
            is_ours = any(hmac.compare_digest(str(data["mac"]), head._mac(key)) for key in keys)
        except (ValueError, KeyError, TypeError):
            is_ours = False
        if not is_ours:
            raise ValueError("it was changed, or written with another key")
        return head

    def write(self, path: Path, key: bytes) -> None:
        """Put this head in place of the one in a file, whole or not at all; raises OSError."""
        new = path.with_suffix(".new")
        with suppress(FileNotFoundError):
            new.unlink()
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            data = {"seq": self.seq, "hash": self.hash, "mac": self._mac(key)}
            os.write(file, json.dumps(data).encode() + b"\n")
            os.fsync(file)
        finally:
            os.close(file)
        new.replace(path)

    def _mac(self, key: bytes) -> str:
        return hmac.new(key, f"head {self.seq} {self.hash}".encode(), hashlib.sha256).hexdigest()
