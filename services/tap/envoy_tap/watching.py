"""Who watches a session live: they read from the store at their own pace, and are woken when there is more."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

MAX_WATCHERS = 64


class TooManyWatchersError(Exception):
    """As many watch as may."""


class Watching:
    """The watchers of all sessions, on one event loop.

    Nothing is queued for one who is slow: what was stored waits in the store.
    """

    def __init__(self) -> None:
        self._watchers: dict[str, list[asyncio.Event]] = {}

    @property
    def sessions(self) -> frozenset[str]:
        """The ids of the sessions that someone watches."""
        return frozenset(self._watchers)

    def wake(self, session_id: str) -> None:
        """Tell those who watch a session that there is something to see."""
        for arrived in self._watchers.get(session_id, ()):
            arrived.set()

    def wake_all(self) -> None:
        """Tell everyone."""
        for session_id in self._watchers:
            self.wake(session_id)

    @contextmanager
    def of(self, session_id: str) -> Iterator[asyncio.Event]:
        """Watch a session for as long as the context lasts, by an event that is set when there is more.

        Raises TooManyWatchersError.
        """
        if sum(map(len, self._watchers.values())) >= MAX_WATCHERS:
            raise TooManyWatchersError(f"{MAX_WATCHERS} watch already")
        arrived = asyncio.Event()
        watchers = self._watchers.setdefault(session_id, [])
        watchers.append(arrived)
        try:
            yield arrived
        finally:
            watchers.remove(arrived)
            if not watchers:
                self._watchers.pop(session_id, None)
