"""The tap slot's desired content: one active target, or none."""

import time
from collections.abc import Callable

from envoy_tap.slot.broadcast import Broadcast
from envoy_tap.slot.target import Target


class Slot:
    """Holds the target that proxies should capture, until it expires or is cleared.

    Used on one event loop. *clock* gives unix seconds. `changed` fires at `set` and `clear`; nothing fires when the
    target expires, so who serves it wakes at `Target.expires_at_s`.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.changed = Broadcast()
        self._clock = clock
        self._target: Target | None = None

    @property
    def target(self) -> Target | None:
        """The active target; None if there is none or it has expired."""
        target = self._target
        return target if target is not None and self._clock() < target.expires_at_s else None

    def set(self, target: Target) -> None:
        """Make *target* the active one, in place of any other."""
        self._target = target
        self.changed.fire()

    def clear(self) -> None:
        """End the active target, if there is one."""
        self._target = None
        self.changed.fire()
