"""The route of the audit log."""

from starlette.requests import Request
from starlette.responses import Response

from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.api.answers import JSONAnswer
from envoy_tap.audit import Recorder

_DEFAULT = 100
_MOST = 1000


class AuditRoute:
    """Answers with the last entries of the log."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def last(self, request: Request, person: Person) -> Response:
        """GET /audit."""
        most = asked.number(request, "limit", _DEFAULT, least=1, most=_MOST)
        await self._recorder.seen(person, "audit", "")
        entries = await self._recorder.last(most)
        return JSONAnswer({"entries": [entry.as_data() for entry in entries]})
