"""The routes about sessions: start, list, show, approve, stop and delete."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from envoy_tap.access import DeniedError, Person
from envoy_tap.api import asked
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.api.desk import Desk
from envoy_tap.audit.told import target
from envoy_tap.core.blind import warnings
from envoy_tap.core.session import Progress, Session
from envoy_tap.core.spec import as_object

LOG = logging.getLogger(__name__)

Nodes = Callable[[], Sequence[dict[str, Any]]]


def as_data(progress: Progress, may: Sequence[str]) -> dict[str, Any]:
    """Return a session, what has become of it, and what who asks *may* do to it, as JSON data."""
    return {
        **as_object(progress.session),
        "state": str(progress.state),
        "ended_at_s": progress.ended_at_s,
        "ended_by": progress.ended_by,
        "approved_by": progress.approved_by,
        "counts": {
            name: progress.total(name)
            for name in sorted({*progress.counts, *progress.elsewhere})
            if progress.total(name)
        },
        "may": may,
    }


class SessionRoutes:
    """Answers about the sessions at *desk*, and the proxies (*nodes*) that they reach."""

    def __init__(self, desk: Desk, nodes: Nodes) -> None:
        self._desk = desk
        self._nodes = nodes

    async def list(self, _request: Request, person: Person) -> Response:
        """GET /sessions."""
        return JSONAnswer(
            {"sessions": [self._shown(person, progress) for progress in self._desk.all(person)]}
        )

    async def start(self, request: Request, person: Person) -> Response:
        """POST /sessions; `warnings` tell what of its predicate may be undecided, and which limit costs much."""

        async def agreed(asked_for: Session) -> Session:
            granted = self._desk.authority.rules.granted(person, asked_for)
            session = replace(granted, subject=person.subject)
            await self._desk.recorder.done(person, "start", session.id, **target(session))
            return session

        progress = await self._desk.registry.start(await asked.body(request), person.name, agreed)
        session = progress.session
        told = [*warnings(session.predicate, session.redaction), *session.limits.warnings()]
        return JSONAnswer({**self._shown(person, progress), "warnings": told}, 201)

    async def show(self, request: Request, person: Person) -> Response:
        """GET /sessions/{id}; `reached` are the proxies that were sent it."""
        session_id = asked.session_id(request)
        progress = self._desk.get(person, session_id)
        reached = [
            {name: value for name, value in node.items() if name != "sessions"}
            for node in self._nodes()
            if session_id in node["sessions"]
        ]
        return JSONAnswer({**self._shown(person, progress), "reached": reached})

    async def approve(self, request: Request, person: Person) -> Response:
        """POST /sessions/{id}/approve."""
        session_id = asked.session_id(request)
        session = self._desk.controlled(person, session_id).session
        if person.may_be_who(session.who, session.subject):
            raise DeniedError("session", "is your own; another person must approve it")
        await self._desk.recorder.done(person, "approve", session_id, who=session.who)
        progress = await self._desk.registry.approve(session_id, person.name)
        return JSONAnswer(self._shown(person, progress))

    async def stop(self, request: Request, person: Person) -> Response:
        """POST /sessions/{id}/stop."""
        session_id = asked.session_id(request)
        self._desk.controlled(person, session_id)
        try:
            await self._desk.recorder.done(person, "stop", session_id)
        except OSError as error:
            # Whatever can't be written: a capture that shall end ends.
            LOG.error("the end of session %s could not be written to the audit log: %s", session_id, error)
        progress = await self._desk.registry.stop(session_id, person.name)
        return JSONAnswer(self._shown(person, progress))

    async def delete(self, request: Request, person: Person) -> Response:
        """DELETE /sessions/{id}."""
        session_id = asked.session_id(request)
        session = self._desk.controlled(person, session_id).session
        await self._desk.recorder.done(person, "delete", session_id, who=session.who)
        await self._desk.registry.delete(session_id, person.name)
        return Response(status_code=204)

    async def nodes(self, _request: Request, person: Person) -> Response:
        """GET /nodes; of their sessions those that one may look at."""
        own = {progress.session.id for progress in self._desk.all(person)}
        return JSONAnswer(
            {
                "nodes": [
                    {**node, "sessions": [each for each in node["sessions"] if each in own]}
                    for node in self._nodes()
                ]
            }
        )

    def _shown(self, person: Person, progress: Progress) -> dict[str, Any]:
        return as_data(progress, self._desk.may(person, progress.session))
