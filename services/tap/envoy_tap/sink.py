"""Where exchanges go, as the collector sees it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange


class ExchangeSink(Protocol):
    """Stores exchanges; called by one thread at a time, never on the event loop, so it may block."""

    def write(self, batch: Sequence[Exchange]) -> Mapping[int, Loss]:
        """Store *batch* so that a reader sees it on return; return why, for those (by index) that are not kept.

        What it raises stands for all of *batch*.
        """

    def close(self) -> None:
        """Let go of what is held open; idempotent."""
