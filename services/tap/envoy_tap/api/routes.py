"""The table of the API's routes: path, method, the role that it takes, and who answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from envoy_tap.access import MAY, Person, Role
from envoy_tap.api.admission import Access
from envoy_tap.api.exchanges import ExchangeRoutes
from envoy_tap.api.export import ExportRoute
from envoy_tap.api.refusals import told
from envoy_tap.api.sessions import Nodes, SessionRoutes
from envoy_tap.api.watch import WatchRoute
from envoy_tap.archive import Archive
from envoy_tap.core.decode import Schema
from envoy_tap.registry import Registry

PREFIX = "/api/v1"

Answer = Callable[[Request, Person], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Services:
    """What the API speaks for."""

    registry: Registry
    archive: Archive
    nodes: Nodes
    access: Access
    schema: Schema | None = None


def routes(services: Services) -> Sequence[BaseRoute]:
    """Return the routes of the API."""
    sessions = SessionRoutes(services.registry, services.nodes)
    exchanges = ExchangeRoutes(services.registry, services.archive, services.schema)
    export = ExportRoute(services.registry, services.archive, services.schema)
    watch = WatchRoute(services.registry, services.archive)
    session = "/sessions/{id}"
    table: Sequence[tuple[str, str, Role, Answer]] = (
        ("GET", "/whoami", Role.VIEWER, _whoami),
        ("GET", "/sessions", Role.VIEWER, sessions.list),
        ("POST", "/sessions", Role.OPERATOR, sessions.start),
        ("GET", session, Role.VIEWER, sessions.show),
        ("DELETE", session, Role.ADMIN, sessions.delete),
        ("POST", f"{session}/stop", Role.OPERATOR, sessions.stop),
        ("GET", f"{session}/watch", Role.VIEWER, watch.watch),
        ("GET", f"{session}/exchanges", Role.VIEWER, exchanges.list),
        ("GET", f"{session}/exchanges/{{seq}}", Role.VIEWER, exchanges.show),
        ("GET", f"{session}/export", Role.VIEWER, export.export),
        ("POST", "/predicate", Role.VIEWER, exchanges.predicate),
        ("POST", "/preview", Role.VIEWER, exchanges.preview),
        ("GET", "/nodes", Role.VIEWER, sessions.nodes),
    )
    return [
        Route(PREFIX + path, _guarded(services.access, role, answer), methods=[method])
        for method, path, role, answer in table
    ]


def _guarded(access: Access, role: Role, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        return await answer(request, access.person(request, role))

    return told(guarded)


async def _whoami(_request: Request, person: Person) -> Response:
    may = [verb for verb, role in MAY.items() if person.role >= role]
    return JSONResponse({"name": person.name, "role": person.role.name.lower(), "may": may})
