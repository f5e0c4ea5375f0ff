"""Verified tokens, remembered by hash until they expire or the keys that verified them change."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Generic, TypeVar

from envoy_authz.tokens.keys import KeySet
from envoy_authz.tokens.verify import KeySource

DEFAULT_CAPACITY = 10_000
"""How many tokens a cache remembers."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, eq=False)
class Entry(Generic[Value]):
    """What was made of a token: it holds until `expires_s` (unix seconds) and while `source` has the same `keys`."""

    value: Value
    expires_s: float
    source: KeySource
    keys: KeySet | None


def digest(token: str) -> bytes:
    """Return what a token is remembered by: its SHA-256, so that no token is kept in memory."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class TokenCache(Generic[Value]):
    """A bounded cache; when it is full, what came first goes first.

    An entry whose keys were replaced is never returned, whichever thread replaces them and when: an entry holds the
    very set of keys that verified it, and a new set is another object.
    """

    __slots__ = ("_entries", "capacity")

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self._entries: dict[bytes, Entry[Value]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes, now_s: float) -> Value | None:
        """Return what was remembered under *key* (a `digest`), if it still holds at *now_s*."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now_s < entry.expires_s and entry.source.keys is entry.keys:
            return entry.value
        self._entries.pop(key, None)
        return None

    def put(self, key: bytes, entry: Entry[Value]) -> None:
        """Remember *entry* under *key*."""
        entries = self._entries
        while len(entries) >= self.capacity and key not in entries:
            try:
                entries.pop(next(iter(entries)), None)
            except (StopIteration, RuntimeError):  # another thread emptied or changed it
                break
        entries[key] = entry

    def flush(self) -> None:
        """Forget everything."""
        self._entries = {}
