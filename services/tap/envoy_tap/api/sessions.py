"""The routes about sessions: start, list, show, stop and delete."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.core.session import Progress
from envoy_tap.core.spec import as_object
from envoy_tap.registry import Registry

Nodes = Callable[[], Sequence[dict[str, Any]]]


def as_data(progress: Progress) -> dict[str, Any]:
    """Return a session and what has become of it, as JSON data."""
    return {
        **as_object(progress.session),
        "state": str(progress.state),
        "ended_at_s": progress.ended_at_s,
        "ended_by": progress.ended_by,
        "counts": {name: count for name, count in sorted(progress.counts.items()) if count},
    }


class SessionRoutes:
    """Answers about the sessions of *registry*, and the proxies (*nodes*) that they reach."""

    def __init__(self, registry: Registry, nodes: Nodes) -> None:
        self._registry = registry
        self._nodes = nodes

    async def list(self, _request: Request, _person: Person) -> Response:
        """GET /sessions."""
        return JSONResponse({"sessions": [as_data(progress) for progress in self._registry.all()]})

    async def start(self, request: Request, person: Person) -> Response:
        """POST /sessions."""
        progress = await self._registry.start(await asked.body(request), person.name)
        return JSONResponse(as_data(progress), 201)

    async def show(self, request: Request, _person: Person) -> Response:
        """GET /sessions/{id}; `reached` are the proxies that were sent it."""
        session_id = asked.session_id(request)
        progress = self._registry.get(session_id)
        reached = [
            {name: value for name, value in node.items() if name != "sessions"}
            for node in self._nodes()
            if session_id in node["sessions"]
        ]
        return JSONResponse({**as_data(progress), "reached": reached})

    async def stop(self, request: Request, person: Person) -> Response:
        """POST /sessions/{id}/stop."""
        return JSONResponse(as_data(await self._registry.stop(asked.session_id(request), person.name)))

    async def delete(self, request: Request, person: Person) -> Response:
        """DELETE /sessions/{id}."""
        await self._registry.delete(asked.session_id(request), person.name)
        return Response(status_code=204)

    async def nodes(self, _request: Request, _person: Person) -> Response:
        """GET /nodes."""
        return JSONResponse({"nodes": self._nodes()})
