"""What viewers read: it holds up nobody but viewers."""

import asyncio
import threading
from typing import cast

from envoy_tap.archive import Archive
from envoy_tap.storage.port import Store

MORE_THAN_THREADS = 64
AT_MOST_S = 30


class Held:
    """A store that answers when it is let go."""

    def __init__(self) -> None:
        self.asked, self.go = threading.Event(), threading.Event()

    def last_seq(self, _session_id: str) -> int:
        self.asked.set()
        self.go.wait(AT_MOST_S)
        return 7


async def test_readings_that_take_their_time_leave_the_threads_of_captures_free() -> None:
    store = Held()
    archive = Archive(cast("Store", store))
    readings = [asyncio.create_task(archive.last_seq("a")) for _ in range(MORE_THAN_THREADS)]
    try:
        assert await asyncio.wait_for(asyncio.to_thread(store.asked.wait, AT_MOST_S), AT_MOST_S)
    finally:
        store.go.set()
    assert await asyncio.gather(*readings) == [7] * MORE_THAN_THREADS
