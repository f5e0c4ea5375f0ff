"""What is known of a store that failed: since when it is not asked, and whether it is back."""

import logging
from collections.abc import Callable

from envoy_ratelimit.core.store import StoreError

LOG = logging.getLogger(__name__)


class Outage:
    """Begins when a batch fails or the store is not reached.

    It ends when a batch is decided, or when the store is reached again and nobody asks.
    *consequence* says what requests get meanwhile. *why_down* says why a part of the store is not reached, empty if all
    of it is. Not for several threads at once.
    """

    def __init__(self, consequence: str, why_down: Callable[[], str]) -> None:
        self.why = ""
        """What began when the store failed, in a sentence; empty while there is no outage."""
        self.is_unproven = False
        """Whether no batch was decided since the last failure: `decided` wants to know of the next."""
        self._consequence = consequence
        self._why_down = why_down
        self._is_doubted = False
        self._failed_since_look = False

    def failed(self, error: StoreError) -> None:
        """Note that a batch was not decided."""
        self._failed_since_look = True
        if error.kind == "response":
            self._is_doubted = True
        if not self.why:
            self._is_doubted = self._is_doubted or self.is_unproven
            self.is_unproven = True
            self.why = f"the bucket store failed; {self._consequence} until it is back: {error}"
            LOG.warning("%s", self.why)

    def decided(self) -> None:
        """Note that a batch was decided."""
        if self.why:
            if self._why_down():
                return  # another node decided, or a refusal was remembered
            self._end()
        self.is_unproven = self._is_doubted = False

    def look(self) -> None:
        """See whether the store is reached again, which no request shows where none comes; to be called now and then.

        A store that was reached and refused, or failed again as soon as it was asked, is taken for back only when it
        decides: else it would come and go in the log. One that was never reached is said before a batch needs it.
        """
        if not self.why:
            if down := self._why_down():
                self.is_unproven = True
                self.why = f"the bucket store is not reached; {self._consequence} until it is: {down}"
                LOG.warning("%s", self.why)
            return
        if self._is_doubted:
            return
        if not self._failed_since_look and not self._why_down():
            self._end()
        self._failed_since_look = False

    def _end(self) -> None:
        self.why = ""
        LOG.info("the bucket store is back")
