"""The port of a store of sessions and exchanges."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from envoy_tap.core.exchange import Exchange
from envoy_tap.storage.snapshot import Snapshot

EMBEDDED = "embedded"
"""What `--store` is for the store in the data folder."""

MAX_SEQ = (1 << 63) - 1
MAX_READ_BYTES = 8 << 20
"""How much is read at once, one exchange at least: of those in a `Span` only the first ones may come."""


@dataclass(frozen=True, slots=True)
class Span:
    """Which exchanges of a session: `after` < seq < `before`, at most `limit` of them.

    The first ones, or with `newest` the last ones; in ascending order either way.
    """

    after: int = 0
    before: int = MAX_SEQ
    limit: int = 500
    newest: bool = False


def up_to_bytes(rows: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield the first of *rows*, which together have MAX_READ_BYTES at most."""
    held_bytes = 0
    for seq, sealed in rows:
        held_bytes += len(sealed)
        if held_bytes > MAX_READ_BYTES and held_bytes > len(sealed):
            return
        yield seq, sealed


class Change(Enum):
    """What another replica did: to the session itself, or it stored more of it."""

    SESSION = "session"
    EXCHANGES = "exchanges"


class Store(Protocol):
    """Keeps sessions and exchanges; from any thread, never on the event loop, as it may block.

    All methods raise OSError when the medium fails, and KeyError for a session that is not kept. What a method has
    returned from is kept even if the process is killed right after. Numbers (`seq`) of a session's exchanges begin
    at 1 and are never used twice.
    """

    def load(self) -> Iterator[Snapshot]:
        """Yield the sessions, oldest first; what cannot be read is logged, and left as it is."""

    @property
    def is_shared(self) -> bool:
        """Whether other replicas keep their sessions here, too."""

    def share_nodes(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Tell the other replicas, for some seconds, which proxies are connected here."""

    def nodes_elsewhere(self) -> Sequence[dict[str, Any]]:
        """Return the proxies that are connected to other replicas."""

    def listen(self, changed: Callable[[Change, str], None]) -> None:
        """Have *changed* called, in another thread, with what another replica did to a session, until `close`."""

    def get(self, session_id: str) -> Snapshot:
        """Return a session; raises SealError for one that cannot be read."""

    def create(self, snapshot: Snapshot) -> None:
        """Keep a new session."""

    def save(self, snapshot: Snapshot) -> None:
        """Keep what has become of a session; one that has ended stays as it ended first."""

    def append(self, session_id: str, exchanges: Sequence[Exchange]) -> Sequence[int | None]:
        """Keep *exchanges* and return the number of each; None for one that would exceed a limit of the session."""

    def summaries(self, session_id: str, span: Span) -> Sequence[Mapping[str, Any]]:
        """Return the summaries in *span* (`core.record.summary`), or the first of them: see `MAX_READ_BYTES`."""

    def exchanges(self, session_id: str, span: Span) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return numbers and exchanges in *span* (`core.record.as_object`), or the first of them."""

    def last_seq(self, session_id: str) -> int:
        """Return the number of the newest exchange, 0 without one."""

    def sizes(self) -> Mapping[str, int]:
        """Return how many bytes each session takes."""

    def delete(self, session_id: str) -> None:
        """Destroy a session's key, and remove it and all that was captured for it."""

    def close(self) -> None:
        """Let go of what is held open; idempotent."""
