"""Where each session's exchanges go: to the store, session by session, so that one's trouble is not another's."""

import logging
from collections.abc import Mapping, Sequence

from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange
from envoy_tap.storage.port import Store

LOG = logging.getLogger(__name__)


class SessionSink:
    """Appends to *store*; what comes for a session that was deleted meanwhile is let go of."""

    def __init__(self, store: Store) -> None:
        self._store = store

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
            numbers = self._store.append(session_id, own)
        except KeyError:
            return [Loss.DELETED] * len(own)
        except OSError as error:
            LOG.error("session %s: %d exchanges could not be stored: %s", session_id, len(own), error)
            return [Loss.SINK_ERROR] * len(own)
        return [None if seq else Loss.OVER_LIMIT for seq in numbers]
