"""One entry of the audit log: who did what to which session, chained to the entry before."""

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

START = "0" * 64
"""The hash that stands before the first entry."""


@dataclass(frozen=True, slots=True)
class Entry:
    """`time` is RFC 3339; `outcome` is `ok` or `denied`; `detail` is JSON data without secrets or captured content.

    `hash` is HMAC-SHA-256 (RFC 2104) under a key derived of the key file, over the hash before (32 bytes) and the
    entry's own bytes without `hash`: who has not the key cannot make an entry, nor change, leave out or move one.
    """

    seq: int
    time: str
    who: str
    role: str
    action: str
    session: str = ""
    outcome: str = "ok"
    detail: Mapping[str, Any] = field(default_factory=dict)
    hash: str = ""

    def hashed(self, key: bytes, before: str) -> str:
        """Return the hash of this entry after one with the hash *before*."""
        return hmac.new(key, bytes.fromhex(before) + self._content(), hashlib.sha256).hexdigest()

    def holds(self, keys: Sequence[bytes], before: str) -> bool:
        """Whether this entry was made with one of *keys*, after one with the hash *before*."""
        return any(hmac.compare_digest(self.hash, self.hashed(key, before)) for key in keys)

    def line(self) -> bytes:
        """Return the line of the file, with its end."""
        return json.dumps(self.as_data(), separators=(",", ":")).encode() + b"\n"

    def as_data(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def read(cls, line: bytes) -> Self:
        """Return the entry of a line; raises ValueError for what is none, byte for byte."""
        try:
            entry = cls(**json.loads(line))
            is_hash = len(bytes.fromhex(entry.hash)) == len(START) // 2
        except (TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no entry: {error}") from None
        if not is_hash or entry.line() != line:
            raise ValueError("it is not written as this service writes")
        return entry

    def _content(self) -> bytes:
        data = {name: value for name, value in self.as_data().items() if name != "hash"}
        return json.dumps(data, separators=(",", ":")).encode()
