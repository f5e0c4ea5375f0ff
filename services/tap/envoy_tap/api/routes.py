"""The table of the API's routes: path, method, what is done (which says the role that it takes), and who answers."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from envoy_tap.access import MAY, DeniedError, Person
from envoy_tap.api.admission import Access, check_role
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.api.audit import AuditRoute
from envoy_tap.api.desk import Desk, HiddenError
from envoy_tap.api.exchanges import ExchangeRoutes
from envoy_tap.api.export import ExportRoute
from envoy_tap.api.openapi import document
from envoy_tap.api.refusals import RefusedError, told
from envoy_tap.api.replay import ReplayRoute
from envoy_tap.api.sessions import Nodes, SessionRoutes
from envoy_tap.api.watch import WatchRoute
from envoy_tap.archive import Archive
from envoy_tap.audit import Recorder
from envoy_tap.core.decode import Schema
from envoy_tap.registry import Registry
from envoy_tap.replay import Target

PREFIX = "/api/v1"
_DENIED = frozenset({401, 403})

Answer = Callable[[Request, Person], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Services:
    """What the API speaks for."""

    registry: Registry
    archive: Archive
    nodes: Nodes
    access: Access
    recorder: Recorder
    schema: Schema | None = None
    replay_to: Sequence[Target] = ()

    @property
    def desk(self) -> Desk:
        """The sessions as one person sees them."""
        return Desk(self.registry, self.access.authority, self.recorder)


def routes(services: Services) -> Sequence[BaseRoute]:
    """Return the routes of the API."""
    sessions = SessionRoutes(services.desk, services.nodes)
    exchanges = ExchangeRoutes(services.desk, services.archive, services.schema)
    export = ExportRoute(services.desk, services.archive, services.schema)
    watch = WatchRoute(services.desk, services.archive, services.access)
    replay = ReplayRoute(services.desk, services.archive, services.replay_to)
    audit = AuditRoute(services.recorder)
    session = "/sessions/{id}"
    table: Sequence[tuple[str, str, str, Answer]] = (
        ("GET", "/whoami", "view", _whoami),
        ("GET", "/sessions", "view", sessions.list),
        ("POST", "/sessions", "start", sessions.start),
        ("GET", session, "view", sessions.show),
        ("DELETE", session, "delete", sessions.delete),
        ("POST", f"{session}/stop", "stop", sessions.stop),
        ("POST", f"{session}/approve", "approve", sessions.approve),
        ("GET", f"{session}/watch", "view", watch.watch),
        ("GET", f"{session}/exchanges", "view", exchanges.list),
        ("GET", f"{session}/exchanges/{{seq}}", "view", exchanges.show),
        ("POST", f"{session}/exchanges/{{seq}}/replay", "replay", replay.replay),
        ("GET", f"{session}/export", "export", export.export),
        ("POST", "/predicate", "view", exchanges.predicate),
        ("POST", "/preview", "view", exchanges.preview),
        ("GET", "/nodes", "view", sessions.nodes),
        ("GET", "/audit", "audit", audit.last),
    )
    return [
        Route(f"{PREFIX}/openapi.json", _openapi, methods=["GET"]),
        *(
            Route(PREFIX + path, _guarded(services, verb, answer), methods=[method])
            for method, path, verb, answer in table
        ),
    ]


def _guarded(services: Services, verb: str, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        person = None
        try:
            person = await services.access.person(request)
            check_role(person, MAY[verb])
            return await answer(request, person)
        except (RefusedError, DeniedError, HiddenError) as refusal:
            if not isinstance(refusal, RefusedError) or refusal.response.status_code in _DENIED:
                why = "not theirs to see" if isinstance(refusal, HiddenError) else str(refusal)
                asked = f"{request.method} {request.url.path}"
                session_id = request.path_params.get("id", "")[:12]
                await services.recorder.denied(person, verb, session_id, asked=asked, why=why)
            raise

    return told(guarded)


async def _whoami(_request: Request, person: Person) -> Response:
    may = [verb for verb, role in MAY.items() if person.role >= role]
    teams = sorted(person.teams)
    return JSONAnswer({"name": person.name, "role": person.role.name.lower(), "teams": teams, "may": may})


async def _openapi(_request: Request) -> Response:
    return JSONAnswer(document())
