"""The route that hands out what was captured in other tools' formats."""

from collections.abc import Iterator
from difflib import get_close_matches

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from envoy_sidecar import __version__
from envoy_tap.access import Person
from envoy_tap.api import asked
from envoy_tap.api.desk import Desk
from envoy_tap.archive import Archive
from envoy_tap.core.decode import Schema
from envoy_tap.core.predicate import printed
from envoy_tap.core.session import SessionError
from envoy_tap.export import FORMATS, About, entry, file_name

_MAX_TOLD_CHARS = 256
_OF_CONNECTIONS = frozenset({"pcapng", "jsonl"})
# Should a browser show it after all, it can do nothing.
_HARMLESS = {
    "cache-control": "no-store",
    "content-security-policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:",
    "x-content-type-options": "nosniff",
}


class ExportRoute:
    """Exports of the sessions at *desk*, out of *archive*; *schema* knows gRPC messages."""

    def __init__(self, desk: Desk, archive: Archive, schema: Schema | None = None) -> None:
        self._desk = desk
        self._archive = archive
        self._schema = schema

    async def export(self, request: Request, person: Person) -> Response:
        """GET /sessions/{id}/export."""
        session_id = asked.session_id(request)
        session = self._desk.get(person, session_id).session
        name = request.query_params.get("format", "har")
        form = FORMATS.get(name)
        if form is None:
            close = get_close_matches(name, FORMATS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(FORMATS)}"
            raise SessionError("format", f"{name[:40]!r} is no format", hint)
        if session.socket and name not in _OF_CONNECTIONS:
            raise SessionError(
                "format", f"{name} is for HTTP, and this session is of connections", "take pcapng or jsonl"
            )
        ranges, wanted = asked.ranges(request), asked.wanted(request)
        seqs = request.query_params.get("seq", "")[:_MAX_TOLD_CHARS]
        await self._desk.recorder.done(person, "export", session_id, format=name, seq=seqs)
        about = About(session_id, session.why, printed(session.predicate), __version__, self._schema)

        def pieces() -> Iterator[bytes]:
            found = self._archive.walk(session_id, ranges, wanted)
            yield from form.write((entry(seq, stored) for seq, stored in found), about)

        headers = {"content-disposition": f'attachment; filename="{file_name(session_id, form)}"'}
        # A sync iterator: Starlette reads it in a thread, and no faster than the one who asks.
        return StreamingResponse(pieces(), media_type=form.media_type, headers=_HARMLESS | headers)
