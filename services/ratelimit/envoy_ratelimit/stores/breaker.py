"""A circuit breaker as a pure state machine: when a server that failed may be asked again."""

from collections.abc import Callable
from enum import Enum
from random import uniform
from time import monotonic

BASE_DELAY_S = 0.05
MAX_DELAY_S = 1.0
SETTLED_S = 1.0
"""After so long without a failure, the next one counts as the first."""


class State(Enum):
    """What may be done now."""

    CLOSED = "closed"
    """Ask."""
    OPEN = "open"
    """Do not ask; probe once the delay is over."""
    HALF_OPEN = "half-open"
    """A probe went well: ask once, and that decides."""


class Breaker:
    """Opens at the first failure, and lets one batch try after a probe went well.

    One failure is enough because it has cost a batch its whole deadline and the connection, for a late answer must
    never be taken for the next one. The first probe may follow at once, so a single hiccup costs a reconnect and no
    more; each further failure doubles the delay, from BASE_DELAY_S to MAX_DELAY_S, and *spread* shortens it by chance
    so that many clients do not come together. *clock* gives seconds that never go back.
    """

    __slots__ = ("_clock", "_due_s", "_spread", "_well_s", "failures", "state")

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        spread: Callable[[], float] = lambda: uniform(0.5, 1.0),  # noqa: S311 - no secret
    ) -> None:
        self._clock = clock
        self._spread = spread
        self.state = State.CLOSED
        self.failures = 0
        """In a row, without SETTLED_S of success between them."""
        self._well_s = clock()
        """When it was last found to be well: by a probe, or by the trial after it."""
        self._due_s = self._well_s

    def failed(self) -> None:
        """Note that a call, the trial after a probe, or a probe has failed: open."""
        now_s = self._clock()
        if self.state is not State.OPEN and now_s - self._well_s >= SETTLED_S:
            self.failures = 0
        self.failures += 1
        self.state = State.OPEN
        self._due_s = now_s + self._delay_s()

    def probed(self) -> None:
        """Note that a probe went well: the next batch is the trial."""
        if self.state is State.OPEN:
            self.state = State.HALF_OPEN
            self._well_s = self._clock()

    def succeeded(self) -> None:
        """Note that a batch was decided: closed."""
        if self.state is State.HALF_OPEN:
            self.state = State.CLOSED
            self._well_s = self._clock()

    def probe_in_s(self) -> float:
        """Return the seconds until the next probe, 0 if it is due."""
        return max(0.0, self._due_s - self._clock())

    def _delay_s(self) -> float:
        doublings = self.failures - 2
        if doublings < 0:
            return 0.0
        delay_s = MAX_DELAY_S if doublings > 16 else min(BASE_DELAY_S * 2**doublings, MAX_DELAY_S)  # noqa: PLR2004
        return delay_s * self._spread()
