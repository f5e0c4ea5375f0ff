"""Where each session's exchanges go: to the store, session by session, so that one's trouble is not another's."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange
from envoy_tap.storage.port import Store

_LOOK_EVERY_S = 1.0
LOG = logging.getLogger(__name__)


class SessionSink:
    """Appends to *store*, until that takes *max_bytes*; what comes for a deleted session is let go of."""

    def __init__(
        self, store: Store, max_bytes: int = 1 << 62, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._clock = clock
        self._held_bytes = 0
        self._looked_at_s = -_LOOK_EVERY_S

    def write(self, batch: Sequence[Exchange]) -> Mapping[int, Loss]:
        """Store *batch*; return why, for those (by index) that are not kept."""
        refused: dict[int, Loss] = {}
        for session_id in dict.fromkeys(exchange.tap_id for exchange in batch):
            own = [number for number, exchange in enumerate(batch) if exchange.tap_id == session_id]
            losses = self._write(session_id, [batch[number] for number in own])
            refused |= {number: loss for number, loss in zip(own, losses, strict=True) if loss is not None}
        return refused

    def close(self) -> None:
        """Do nothing: the store outlives the collector."""

    def _write(self, session_id: str, own: Sequence[Exchange]) -> Sequence[Loss | None]:
        try:
            if self._is_full(sum(exchange.size_bytes for exchange in own)):
                return [Loss.STORE_FULL] * len(own)
            numbers = self._store.append(session_id, own)
        except KeyError:
            return [Loss.DELETED] * len(own)
        except OSError as error:
            LOG.error("session %s: %d exchanges could not be stored: %s", session_id, len(own), error)
            return [Loss.SINK_ERROR] * len(own)
        return [None if seq else Loss.OVER_LIMIT for seq in numbers]

    def _is_full(self, new_bytes: int) -> bool:
        now_s = self._clock()
        if now_s - self._looked_at_s >= _LOOK_EVERY_S:
            self._held_bytes, self._looked_at_s = sum(self._store.sizes().values()), now_s
        self._held_bytes += new_bytes
        return self._held_bytes > self._max_bytes
