"""The routes about what was captured, and about predicates."""

import asyncio
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.api.desk import Desk
from envoy_tap.archive import Archive
from envoy_tap.core.blind import warnings
from envoy_tap.core.decode import Schema, as_object, decoded
from envoy_tap.core.predicate import collector_part, printed, proxy_part
from envoy_tap.core.record import exchange_of, summary
from envoy_tap.core.redaction.rules import Redaction


class ExchangeRoutes:
    """Answers about exchanges of the sessions at *desk*, out of *archive*; *schema* knows gRPC messages."""

    def __init__(self, desk: Desk, archive: Archive, schema: Schema | None = None) -> None:
        self._desk = desk
        self._archive = archive
        self._schema = schema

    async def list(self, request: Request, person: Person) -> Response:
        """GET /sessions/{id}/exchanges."""
        session_id = asked.session_id(request)
        self._desk.get(person, session_id)
        await self._desk.recorder.seen(person, "exchanges", session_id)
        page = await self._archive.page(session_id, asked.span(request), asked.wanted(request))
        return JSONAnswer({"exchanges": page.exchanges, "last": page.last, "next": page.next})

    async def show(self, request: Request, person: Person) -> Response:
        """GET /sessions/{id}/exchanges/{seq}; `redactions` say what was taken out, where and why."""
        session_id, seq = asked.session_id(request), asked.seq(request)
        self._desk.get(person, session_id)
        found = await self._archive.one(session_id, seq)
        await self._desk.recorder.done(person, "view", session_id, what="exchange", seq=seq)
        exchange = exchange_of(found)
        # Large and hostile bodies take their time.
        read = await asyncio.to_thread(decoded, exchange, self._schema)
        redactions = await asyncio.to_thread(self._desk.registry.explained, exchange)
        return JSONAnswer(
            {
                "summary": summary(exchange, seq),
                "exchange": found,
                "decoded": as_object(read),
                "redactions": [asdict(place) for place in redactions],
            }
        )

    async def predicate(self, request: Request, _person: Person) -> Response:
        """POST /predicate: as a session could have it, with the redaction of all; or as a filter of what is stored."""
        is_stored = request.query_params.get("stored") == "1"
        refused = None if is_stored else self._desk.registry.refusal(Redaction())
        found = await asked.predicate_in_body(request, refused)
        parts = {"predicate": found, "proxy": proxy_part(found), "collector": collector_part(found)}
        told = warnings(found, Redaction())
        return JSONAnswer({**{name: printed(part) for name, part in parts.items()}, "warnings": told})

    async def preview(self, request: Request, person: Person) -> Response:
        """POST /preview."""
        found = await asked.predicate_in_body(request)
        newest_first = [progress.session.id for progress in self._desk.all(person)][::-1]
        await self._desk.recorder.seen(person, "preview", "")
        of, matched = await self._archive.preview(newest_first, found)
        return JSONAnswer({"of": of, "matches": matched})
