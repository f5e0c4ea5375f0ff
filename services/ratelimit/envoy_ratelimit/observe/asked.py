"""Which buckets the store was asked for, so that metrics can tell its refusals from those that were only remembered."""

from collections.abc import Sequence
from typing import Protocol

from envoy_ratelimit.core.store import BucketStore, Take
from envoy_ratelimit.core.token_bucket import Outcome

_Batch = Sequence[Sequence[Take]]


class StartedStore(BucketStore, Protocol):
    """A store that has somebody to connect to."""

    def start(self) -> None:
        """Begin to connect."""

    def look(self) -> None:
        """Connect again to what has closed its connection while nobody asked."""

    def why_down(self) -> str:
        """Say why it cannot be asked now; empty if it can."""


class AskedStore:
    """A store that knows what it was asked since `begin`; it stands below what remembers refusals."""

    __slots__ = ("_batch", "_keys", "_store")

    def __init__(self, store: StartedStore) -> None:
        self._store = store
        self._batch: _Batch = ()
        self._keys: frozenset[str] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._store.start()

    def look(self) -> None:
        """Connect again to what has closed its connection while nobody asked."""
        self._store.look()

    def why_down(self) -> str:
        """Say why the store cannot be asked now; empty if it can."""
        return self._store.why_down()

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def take(self, batch: _Batch) -> Sequence[Sequence[Outcome]]:
        """See BucketStore."""
        self._batch, self._keys = batch, None
        return self._store.take(batch)

    def begin(self) -> None:
        """Forget what it was asked: a new batch begins."""
        self._batch, self._keys = (), None

    def was_asked(self, key: str) -> bool:
        """Tell whether it was asked for a bucket in this batch; the keys are put together at the first question."""
        keys = self._keys
        if keys is None:
            keys = self._keys = frozenset(take[0] for takes in self._batch for take in takes)
        return key in keys
