"""When a draining server may close: nothing is in flight, and nobody has called for a moment."""

import asyncio
import time

_QUIET_S = 0.2
_POLL_S = 0.02


class Quiet:
    """Counts the unary calls in flight; `begin` and `end` belong to one thread, `wait` to the event loop.

    A caller stops calling only once it has seen NOT_SERVING. A server that closed at once would refuse what that
    caller sent in the meantime.
    """

    __slots__ = ("_ended_s", "_in_flight")

    def __init__(self) -> None:
        self._in_flight = 0
        self._ended_s = time.monotonic()

    def begin(self) -> None:
        """Note that a call, or a batch, has come."""
        self._in_flight += 1

    def end(self) -> None:
        """Note that it has been answered or given up."""
        self._ended_s = time.monotonic()
        self._in_flight -= 1

    async def wait(self, deadline_s: float) -> None:
        """Return once no call has come for a moment, at the latest at *deadline_s* (by `time.monotonic`)."""
        while time.monotonic() < deadline_s and not self._is_quiet():  # noqa: ASYNC110 -- calls must not pay for an event
            await asyncio.sleep(_POLL_S)

    def _is_quiet(self) -> bool:
        return self._in_flight == 0 and time.monotonic() - self._ended_s >= _QUIET_S
