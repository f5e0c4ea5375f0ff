"""The session API over the admin HTTP: JSON, and server-sent events for who watches. See docs/tap.md."""

import asyncio
import ipaddress
import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from envoy_sidecar.transport.address import Address
from envoy_tap.access import Person, Role, Tokens
from envoy_tap.core.session import Progress, SessionError
from envoy_tap.core.spec import as_object
from envoy_tap.registry import Registry, Watcher
from envoy_tap.sink import as_object as exchange_object

PREFIX = "/api/v1"
MAX_REPLAY = 1000
WHO_HEADER = "x-tap-who"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_MAX_BODY_BYTES = 64 << 10
_KEEP_ALIVE_S = 5.0
_JSON = "application/json"
LOG = logging.getLogger(__name__)

Answer = Callable[[Request, Person], Awaitable[Response]]


class _RefusedError(Exception):
    def __init__(self, status: int, message: str, **more: str) -> None:
        self.response = JSONResponse({"error": {"message": message, **more}}, status)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in: by token; without tokens whoever is on this machine, and nobody if *address* is not loopback."""

    tokens: Tokens | None
    address: Address

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the API."""
        return self.address.is_unix or _is_loopback(self.address.host)

    def person(self, request: Request, role: Role) -> Person:
        """Return who asks, if they may do what takes *role*; raises _RefusedError."""
        person = self._authenticated(request)
        if person.role < role:
            has, takes = person.role.name.lower(), role.name.lower()
            raise _RefusedError(403, f"{person.name} is {has}; this takes {takes}")
        return person

    def _authenticated(self, request: Request) -> Person:
        if self.tokens is not None:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            person = self.tokens.person(token.strip()) if scheme.lower() == "bearer" else None
            if person is None:
                raise _RefusedError(401, "a valid bearer token is needed", hint="authorization: Bearer TOKEN")
            return person
        if not self.is_local:
            raise _RefusedError(
                403, "without --tokens the API is open on loopback only", hint="give --tokens FILE"
            )
        # A page in a browser on this machine may reach us as well: by another name, or from another origin.
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        is_browser = "origin" in request.headers or request.headers.get("sec-fetch-site", "none") != "none"
        if is_browser or not (self.address.is_unix or _is_loopback(host)):
            raise _RefusedError(
                403, "without --tokens the API is not open to web pages", hint="give --tokens FILE"
            )
        # Nobody vouches for the name; it is for the log.
        claimed = request.headers.get(WHO_HEADER, "")
        return Person(f"local:{claimed}" if _NAME.fullmatch(claimed) else "local", Role.ADMIN)


def routes(
    registry: Registry, nodes: Callable[[], list[dict[str, Any]]], access: Access
) -> Sequence[BaseRoute]:
    """Return the routes of the API."""
    api = _Api(registry, nodes)

    def route(path: str, method: str, role: Role, answer: Answer) -> Route:
        return Route(PREFIX + path, _guarded(access, role, answer), methods=[method])

    return [
        route("/sessions", "GET", Role.VIEWER, api.list),
        route("/sessions", "POST", Role.OPERATOR, api.start),
        route("/sessions/{id}", "GET", Role.VIEWER, api.show),
        route("/sessions/{id}", "DELETE", Role.ADMIN, api.delete),
        route("/sessions/{id}/stop", "POST", Role.OPERATOR, api.stop),
        route("/sessions/{id}/watch", "GET", Role.VIEWER, api.watch),
        route("/nodes", "GET", Role.VIEWER, api.nodes),
    ]


def as_data(progress: Progress) -> dict[str, Any]:
    """Return a session and what has become of it, as JSON data."""
    return {
        **as_object(progress.session),
        "state": str(progress.state),
        "ended_at_s": progress.ended_at_s,
        "ended_by": progress.ended_by,
        "counts": {name: count for name, count in sorted(progress.counts.items()) if count},
    }


def _guarded(access: Access, role: Role, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        try:
            return await answer(request, access.person(request, role))
        except _RefusedError as refused:
            LOG.warning("%s %s was refused: %s", request.method, request.url.path, refused)
            return refused.response
        except SessionError as error:
            found = {"path": error.path, "message": error.message, "hint": error.hint}
            return JSONResponse({"error": found}, 422)
        except KeyError:
            return JSONResponse({"error": {"message": "there is no such session"}}, 404)
        except OSError as error:
            LOG.error("%s %s failed: %s", request.method, request.url.path, error)
            return JSONResponse({"error": {"message": f"the disk refused: {error.strerror}"}}, 507)

    return guarded


class _Api:
    def __init__(self, registry: Registry, nodes: Callable[[], list[dict[str, Any]]]) -> None:
        self._registry = registry
        self._nodes = nodes

    async def list(self, _request: Request, _person: Person) -> Response:
        return JSONResponse({"sessions": [as_data(progress) for progress in self._registry.all()]})

    async def nodes(self, _request: Request, _person: Person) -> Response:
        return JSONResponse({"nodes": self._nodes()})

    async def start(self, request: Request, person: Person) -> Response:
        progress = await self._registry.start(await _json(request), person.name)
        return JSONResponse(as_data(progress), 201)

    async def show(self, request: Request, _person: Person) -> Response:
        return JSONResponse(as_data(self._registry.get(request.path_params["id"])))

    async def stop(self, request: Request, person: Person) -> Response:
        return JSONResponse(as_data(await self._registry.stop(request.path_params["id"], person.name)))

    async def delete(self, request: Request, person: Person) -> Response:
        await self._registry.delete(request.path_params["id"], person.name)
        return Response(status_code=204)

    async def watch(self, request: Request, person: Person) -> Response:
        session_id = request.path_params["id"]
        self._registry.get(session_id)
        LOG.info("session %s: watched by %s", session_id, person.name)
        return StreamingResponse(
            self._events(session_id, _replay(request)),
            media_type="text/event-stream",
            headers={"cache-control": "no-store"},
        )

    async def _events(self, session_id: str, replay: int) -> AsyncGenerator[str, None]:
        with self._registry.watching(session_id) as watcher:
            # Watched first, read then: what is stored in between comes twice, and is told once.
            told = set()
            for stored in await self._registry.last(session_id, replay):
                told.add((stored["trace_id"], stored["time"]))
                yield _event("exchange", stored)
            while True:
                for event in _taken(watcher, told):
                    yield event
                try:
                    is_over, progress = self._registry.is_over(session_id), self._registry.get(session_id)
                except KeyError:
                    yield _event("deleted", {})
                    return
                yield _event("session", as_data(progress))
                if self._registry.is_closing:
                    yield _event("closing", {})
                    return
                if is_over and not watcher.exchanges:
                    return
                watcher.arrived.clear()
                if not watcher.exchanges:
                    await _wait(watcher.arrived)


def _taken(watcher: Watcher, told: set[tuple[str, str]]) -> list[str]:
    events = []
    if watcher.missed:
        events.append(_event("missed", {"exchanges": watcher.missed}))
        watcher.missed = 0
    while watcher.exchanges:
        found = exchange_object(watcher.exchanges.popleft())
        if (found["trace_id"], found["time"]) not in told:
            events.append(_event("exchange", found))
    return events


def _replay(request: Request) -> int:
    asked = request.query_params.get("replay", "0")
    return (
        min(int(asked), MAX_REPLAY)
        if asked.isascii() and asked.isdigit() and len(asked) < len("100000")
        else 0
    )


async def _wait(arrived: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(_KEEP_ALIVE_S):
            await arrived.wait()
    except TimeoutError:
        return


def _event(name: str, data: Any) -> str:
    # JSON without line ends is one line of data.
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


async def _json(request: Request) -> Any:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise _RefusedError(415, f"the body must be {_JSON}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise _RefusedError(413, f"the body is longer than {_MAX_BODY_BYTES} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, f"the body is not JSON: {error}") from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
