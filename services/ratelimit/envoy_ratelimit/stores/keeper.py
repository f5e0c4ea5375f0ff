"""Keeps one thing that is made by waiting for a server, and makes it again off the hot path when it is lost."""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, Protocol, TypeVar

from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores.breaker import Breaker, State

LOG = logging.getLogger(__name__)


class Closable(Protocol):
    """What a Keeper keeps."""

    def close(self) -> None:
        """Let go of it."""


T = TypeVar("T", bound=Closable)


class Keeper(Generic[T]):
    """Has what *make* returns, behind a circuit breaker.

    `get`, `kept`, `lost`, `renew` and `proven` belong to the dispatcher's thread. *make* runs on a thread of its own, of which there is
    at most one, and only while there is nothing to use; it raises StoreError.
    """

    def __init__(self, name: str, make: Callable[[], T], breaker: Breaker | None = None) -> None:
        self._name = name
        self._make = make
        self.breaker = breaker or Breaker()
        self._value: T | None = None
        self._why = f"{name} was not reached yet"
        self._maker: threading.Thread | None = None
        self._lock = threading.Lock()
        self._there = threading.Event()
        self._ended = threading.Event()

    def get(self, deadline_s: float) -> T:
        """Return it; wait for it, until *deadline_s* (monotonic), only the first time, and after `renew`.

        Raises StoreError, at once while the breaker is open.
        """
        value = self._value
        if value is not None:
            return value
        if self.breaker.state is State.CLOSED:
            self.start()
            if self._there.wait(max(0.0, deadline_s - monotonic())) and (value := self._value) is not None:
                return value
            if self.breaker.state is State.CLOSED:
                self.lost(StoreError("timeout", f"{self._name} did not answer in time"))
        raise StoreError("open", f"{self._name} is not asked: {self._why}")

    def why_down(self) -> str:
        """Say why it is not there after it failed; empty if it is, or is tried for the first time. From any thread."""
        return self._why if self.breaker.state is State.OPEN else ""

    @property
    def kept(self) -> T | None:
        """What there is now."""
        return self._value

    def start(self) -> None:
        """Begin to make it, unless it is there or being made."""
        with self._lock:
            if self._value is None and self._maker is None and not self._ended.is_set():
                self._maker = threading.Thread(target=self._run, name=f"store {self._name}", daemon=True)
                self._maker.start()

    def lost(self, why: StoreError) -> None:
        """Throw it away because of *why*, open the breaker and begin to make it again."""
        with self._lock:
            value, self._value = self._value, None
            self._there.clear()
            self._why = str(why)
            self.breaker.failed()
        if value is not None:
            value.close()
        self.start()

    def renew(self, why: str) -> None:
        """Throw it away because of *why*, which was no failure, and make it anew: `get` waits for that as at first."""
        with self._lock:
            value, self._value = self._value, None
            self._there.clear()
            self._why = why
        if value is not None:
            value.close()
        self.start()

    def proven(self) -> None:
        """Note that it did what it is for."""
        if self.breaker.state is not State.CLOSED:
            self.breaker.succeeded()

    def close(self) -> None:
        """Throw it away; the thread, if there is one, ends after what it does just now."""
        self._ended.set()
        with self._lock:
            value, self._value = self._value, None
        if value is not None:
            value.close()

    def _run(self) -> None:
        while not self._ended.wait(self.breaker.probe_in_s()):
            if self._made():
                return

    def _made(self) -> bool:
        """Make it, if that can be now.

        Each time in a frame of its own: one that failed may live on in the traceback, and must not see what came after.
        """
        try:
            value = self._make()
        except StoreError as error:
            why = str(error)
        except Exception as error:  # a fault of ours must not end the thread that mends things
            LOG.exception("%s: could not be reached by a fault of ours", self._name)
            why = type(error).__name__
        else:
            self._hand_over(value)
            return True
        with self._lock:
            self._why = why
            self.breaker.failed()
        # A batch that waits need not wait on.
        self._there.set()
        return False

    def _hand_over(self, value: T) -> None:
        with self._lock:
            self._maker = None
            if not self._ended.is_set():
                self._value = value
                self.breaker.probed()
                self._there.set()
                return
        value.close()
