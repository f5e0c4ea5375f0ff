"""Telling whoever listens on the event loop that something changed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Broadcast:
    """Calls every listener at each `fire`; all of it on one event loop."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[], None]] = {}

    def fire(self) -> None:
        """Tell all listeners."""
        for listener in list(self._listeners.values()):
            listener()

    @contextmanager
    def listening(self, listener: Callable[[], None]) -> Iterator[None]:
        """Have *listener* called at each `fire` for as long as the context lasts."""
        token = object()
        self._listeners[token] = listener
        try:
            yield
        finally:
            del self._listeners[token]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when *holds* is true; it is asked now and at each `fire`."""
        changed = asyncio.Event()
        with self.listening(changed.set):
            while not holds():
                changed.clear()
                await changed.wait()
