"""Threads that the end of the process does not wait for."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

_T = TypeVar("_T")


async def in_background(function: Callable[[], _T], name: str) -> _T:
    """Return what *function* returns, or raise what it raises, from a daemon thread called *name*.

    The loop's own threads (`asyncio.to_thread`) are waited for at the exit, however long a file system hangs.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(outcome: Callable[[], None]) -> None:
        if not future.done():
            outcome()

    def run() -> None:
        try:
            outcome = partial(future.set_result, function())
        except BaseException as error:  # noqa: BLE001 -- raised again where it is awaited
            outcome = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop has closed, nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
