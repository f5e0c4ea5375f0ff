"""The live stream of a session, as server-sent events (WHATWG HTML, 9.2).

Nothing is queued: the next events are read from the store when the ones before have been sent, so one who reads
slowly costs no memory. One who does not read at all is let go.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from envoy_sidecar.admin_http import cut_connection
from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.api.admission import Access
from envoy_tap.api.desk import Desk
from envoy_tap.api.refusals import RefusedError
from envoy_tap.api.sessions import as_data
from envoy_tap.archive import Archive
from envoy_tap.core.predicate import Expr
from envoy_tap.storage.port import Span

LOG = logging.getLogger(__name__)
_KEEP_ALIVE_S = 5.0
SEND_S = 30.0
"""How long a watcher may take to make room for the next event."""

_PAGE = 64
_LAST_EVENT_ID = "last-event-id"


@dataclass(frozen=True, slots=True)
class _Watch:
    """What one watches: `check` returns who it is, and raises when they may no longer."""

    session_id: str
    check: Callable[[], Awaitable[Person]]
    wanted: Expr | None
    whole: bool


class WatchRoute:
    """Streams the exchanges of the sessions at *desk*, out of *archive*, while *access* lets the reader in."""

    def __init__(
        self,
        desk: Desk,
        archive: Archive,
        access: Access,
        *,
        send_s: float = SEND_S,
        check_s: float = _KEEP_ALIVE_S,
    ) -> None:
        self._desk = desk
        self._access = access
        self._check_s = check_s
        self._registry = desk.registry
        self._archive = archive
        self._send_s = send_s

    async def watch(self, request: Request, person: Person) -> Response:
        """GET /sessions/{id}/watch."""
        session_id = asked.session_id(request)
        self._desk.get(person, session_id)
        await self._desk.recorder.seen(person, "watch", session_id)
        events = self._events(
            _Watch(
                session_id,
                self._still(request, person, session_id),
                asked.wanted(request),
                whole=bool(asked.number(request, "full", 0, most=1)),
            ),
            await self._start(request, session_id),
        )
        # Begins it here, so that one watcher too many is told so.
        return _EventStream(await anext(events), events, self._send_s)

    async def _start(self, request: Request, session_id: str) -> int:
        """Return the number after which to begin."""
        last = await self._archive.last_seq(session_id)
        # A browser that reconnects says where it was.
        resumed = request.headers.get(_LAST_EVENT_ID, "")
        if resumed.isascii() and resumed.isdigit():
            return min(int(resumed[:19]), last)
        replay = asked.number(request, "replay", 0, most=asked.MAX_REPLAY)
        return asked.number(request, "after", max(0, last - replay))

    def _still(self, request: Request, person: Person, session_id: str) -> Callable[[], Awaitable[Person]]:
        """Return what raises if the session may not be watched any more: a token is revoked, a rule is changed."""
        asked_at_s = time.monotonic()

        async def check() -> Person:
            nonlocal asked_at_s, person
            if time.monotonic() - asked_at_s >= self._check_s:
                asked_at_s = time.monotonic()
                person = await self._access.person(request)
                self._desk.get(person, session_id)
            return person

        return check

    async def _events(self, watch: _Watch, after: int) -> AsyncGenerator[bytes, None]:
        with self._registry.watching.of(watch.session_id) as arrived:
            told: dict[str, Any] = {}
            while True:
                arrived.clear()
                try:
                    person = await watch.check()
                    is_over = self._registry.is_over(watch.session_id)
                    page = await self._archive.page(
                        watch.session_id, Span(after=after, limit=_PAGE), watch.wanted, whole=watch.whole
                    )
                    progress = self._registry.get(watch.session_id)
                    shown = as_data(progress, self._desk.may(person, progress.session))
                except RefusedError:
                    yield _event("denied", {})
                    return
                except KeyError:
                    yield _event("deleted", {})
                    return
                for each in page.exchanges:
                    yield _event("exchange", each, each["seq"])
                after = page.end
                if page.next is not None:
                    continue
                if shown != told or not arrived.is_set():
                    yield _event("session", shown)
                    told = shown
                if self._registry.is_closing:
                    yield _event("closing", {})
                    return
                if is_over:
                    return
                await _wait(arrived)


class _EventStream(StreamingResponse):
    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], send_s: float) -> None:
        self._first = first
        self._events = events
        self._send_s = send_s
        super().__init__(self._all(), media_type="text/event-stream", headers={"cache-control": "no-store"})

    async def _all(self) -> AsyncGenerator[bytes, None]:
        try:
            yield self._first
            async for event in self._events:
                yield event
        finally:
            await self._events.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the events; who does not take one in its time is cut off."""
        try:
            await super().__call__(scope, receive, send)
        except TimeoutError:
            LOG.warning("%s is cut off: its reader takes nothing", scope["path"])
            cut_connection(scope)
            # The server notices in the next turn, and takes the answer's missing end for what it is.
            await asyncio.sleep(0)

    async def stream_response(self, send: Send) -> None:
        """Send the events, each within its time."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._send_s):
                await send(message)

        try:
            await super().stream_response(send_in_time)
        finally:
            await self.body_iterator.aclose()  # type: ignore[attr-defined] # it is a generator, see above


async def _wait(arrived: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_KEEP_ALIVE_S):
            await arrived.wait()
    except TimeoutError:
        return


def _event(name: str, data: Any, event_id: int | None = None) -> bytes:
    # JSON without line ends is one line of data.
    identified = "" if event_id is None else f"id: {event_id}\n"
    return f"event: {name}\n{identified}data: {json.dumps(data, separators=(',', ':'))}\n\n".encode()
