"""Where each session's exchanges go: its own folder, so that deleting a session deletes them."""

from collections.abc import Sequence

from envoy_tap.core.exchange import Exchange
from envoy_tap.sink import ExchangeSink, JsonLinesSink
from envoy_tap.store import SessionStore

_UNBOUNDED_BYTES = 1 << 62


class SessionSink:
    """Writes to `<data>/sessions/<id>/exchanges.jsonl`, and what is of no stored session to *rest*.

    A session's file is bounded by the session's limits. What comes for one that was deleted meanwhile is let go of.
    """

    def __init__(self, store: SessionStore, rest: ExchangeSink, own: str) -> None:
        self._store = store
        self._rest = rest
        self._own = own

    def write(self, batch: Sequence[Exchange]) -> None:
        """Store *batch*; raises OSError if the disk refuses."""
        own = [exchange for exchange in batch if exchange.tap_id == self._own]
        if own:
            self._rest.write(own)
        for session_id in dict.fromkeys(
            exchange.tap_id for exchange in batch if exchange.tap_id != self._own
        ):
            with self._store.lock:
                if self._store.has(session_id):
                    sink = JsonLinesSink(self._store.folder_of(session_id), _UNBOUNDED_BYTES)
                    sink.write([exchange for exchange in batch if exchange.tap_id == session_id])

    def close(self) -> None:
        """Let go of what is held open."""
        self._rest.close()
