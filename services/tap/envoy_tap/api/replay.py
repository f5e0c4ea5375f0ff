"""The route that sends a captured request again: only to targets that `serve --replay-to` names."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.api.desk import Desk
from envoy_tap.api.refusals import RefusedError
from envoy_tap.archive import Archive
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import exchange_of
from envoy_tap.core.session import SessionError
from envoy_tap.replay import Answer, ReplayError, Target, answer_object, prepare, send, sent_object

_MOST_AT_ONCE = 4
LOG = logging.getLogger(__name__)


class ReplayRoute:
    """Replays of exchanges of the sessions at *desk*, out of *archive*, to *targets*."""

    def __init__(self, desk: Desk, archive: Archive, targets: Sequence[Target]) -> None:
        self._desk = desk
        self._archive = archive
        self._targets = tuple(targets)
        self._sending = asyncio.Semaphore(_MOST_AT_ONCE)

    async def replay(self, request: Request, person: Person) -> Response:
        """POST /sessions/{id}/exchanges/{seq}/replay."""
        session_id, seq = asked.session_id(request), asked.seq(request)
        self._desk.get(person, session_id)
        to, is_forced = self._wanted(await asked.body(request))
        exchange = exchange_of(await self._archive.one(session_id, seq))
        try:
            prepared = prepare(exchange, to, f"{session_id}/{seq}")
        except ReplayError as error:
            raise SessionError("exchange", str(error)) from None
        if prepared.doubts and not is_forced:
            raise RefusedError(409, "; ".join(prepared.doubts), hint='"force": true sends it even so')
        await self._desk.recorder.done(person, "replay", session_id, seq=seq, to=str(to), forced=is_forced)
        LOG.info("session %s: exchange %d is sent again to %s by %s", session_id, seq, to, person.name)
        try:
            async with self._sending:
                answer = await asyncio.to_thread(send, prepared)
        except ReplayError as error:
            raise RefusedError(502, str(error)) from None
        answer = await asyncio.to_thread(self._redacted, exchange, answer)
        return JSONAnswer({"sent": sent_object(prepared), "answer": answer_object(exchange, answer)})

    def _redacted(self, exchange: Exchange, answer: Answer) -> Answer:
        """Return *answer* with no more in it than the session and the policy let anybody see of what is captured."""
        answered = replace(exchange, response=answer.message, truncated=answer.truncated)
        return replace(answer, message=self._desk.registry.redacted(answered).response or answer.message)

    def _wanted(self, data: Any) -> tuple[Target, bool]:
        if not isinstance(data, dict) or not {"to"} <= set(data) <= {"to", "force"}:
            raise SessionError("to", "the body is not an object with to, and force where it is needed")
        if not isinstance(data["to"], str) or not isinstance(data.get("force", False), bool):
            raise SessionError("to", "is not a URL, or force is not true or false")
        if not self._targets:
            hint = "start it with serve --replay-to URL, or use `envoy-tap replay`"
            raise RefusedError(403, "this service sends nothing again", hint=hint)
        try:
            to = Target.read(data["to"])
        except ReplayError as error:
            raise SessionError("to", str(error)) from None
        if to not in self._targets:
            hint = f"it takes {', '.join(map(str, self._targets))}"
            raise RefusedError(403, f"{to} is no target of this service", hint=hint)
        return to, data.get("force", False)
