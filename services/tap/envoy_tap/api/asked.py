"""What a request asks for: its JSON body and its query, read strictly and within bounds."""

import json
import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from envoy_tap.api.refusals import RefusedError
from envoy_tap.archive import NoExchangeError
from envoy_tap.core.predicate import Expr
from envoy_tap.core.predicate.parser import Refusal
from envoy_tap.core.session import SessionError
from envoy_tap.core.spec import read_predicate
from envoy_tap.storage.port import MAX_SEQ, Span

MAX_BODY_BYTES = 64 << 10
MAX_LIMIT = 500
MAX_REPLAY = 1000
_JSON = "application/json"
_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
_RANGE = re.compile(r"([0-9]{1,19})(?:-([0-9]{1,19}))?", re.ASCII)
_MAX_RANGES = 200
_SESSION_ID = re.compile(r"[0-9a-f]{12}", re.ASCII)


async def body(request: Request) -> Any:
    """Return the JSON body; raises RefusedError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise RefusedError(415, f"the body must be {_JSON}")
    found = b""
    async for chunk in request.stream():
        found += chunk
        if len(found) > MAX_BODY_BYTES:
            raise RefusedError(413, f"the body is longer than {MAX_BODY_BYTES} bytes")
    try:
        return json.loads(found)
    except (ValueError, RecursionError) as error:
        raise RefusedError(400, f"the body is not JSON: {error}") from None


async def predicate_in_body(request: Request, refused: Refusal | None = None) -> Expr:
    """Return the predicate of a body that has nothing else; raises RefusedError, SessionError."""
    found = await body(request)
    if not isinstance(found, dict) or set(found) != {"predicate"}:
        raise SessionError("predicate", "the body is not an object with just a predicate")
    return read_predicate(found["predicate"], refused)


def session_id(request: Request) -> str:
    """Return the session that the path names; raises KeyError for what can't be one."""
    found: str = request.path_params["id"]
    if not _SESSION_ID.fullmatch(found):
        raise KeyError(found)
    return found


def seq(request: Request) -> int:
    """Return the number of the exchange that the path names; raises NoExchangeError for what can't be one."""
    found: str = request.path_params["seq"]
    if not _NUMBER.fullmatch(found) or not 0 < int(found) < MAX_SEQ:
        raise NoExchangeError(found)
    return int(found)


def span(request: Request) -> Span:
    """Return which exchanges `after`, `before` and `limit` ask for; raises SessionError.

    With `before` alone they are the last ones before it, else the first ones after `after`.
    """
    after, before = number(request, "after", 0), number(request, "before", MAX_SEQ)
    limit = number(request, "limit", MAX_LIMIT, least=1, most=MAX_LIMIT)
    newest = "before" in request.query_params and "after" not in request.query_params
    return Span(after, before, limit, newest)


def wanted(request: Request) -> Expr | None:
    """Return the predicate of the query's `filter`, None without one; raises SessionError."""
    found = request.query_params.get("filter", "")
    if not found.strip():
        return None
    try:
        return read_predicate(found)
    except SessionError as error:
        raise SessionError("filter", error.message, error.hint, error.position) from None


def ranges(request: Request) -> Sequence[tuple[int, int]]:
    """Return the numbers that the query's `seq` names, as in `1,4,7-9`: first and last of each; raises SessionError."""
    found = request.query_params.get("seq", "").strip()
    if not found:
        return ((1, MAX_SEQ),)
    parts = found.split(",")
    read = [_RANGE.fullmatch(part.strip()) for part in parts[:_MAX_RANGES]]
    spans = [(int(each[1]), int(each[2] or each[1])) for each in read if each]
    if len(spans) < len(parts) or not all(0 < first <= last < MAX_SEQ for first, last in spans):
        hint = f"write 1,4,7-9; at most {_MAX_RANGES} of them"
        raise SessionError("seq", f"{found[:40]!r} is no list of exchanges", hint)
    return sorted(spans)


def number(request: Request, name: str, default: int, *, least: int = 0, most: int = MAX_SEQ) -> int:
    """Return a number of the query; raises SessionError for what is none, or out of range."""
    found = request.query_params.get(name)
    if found is None:
        return default
    if not _NUMBER.fullmatch(found) or not least <= int(found) <= most:
        raise SessionError(name, f"{found[:20]!r} is not a whole number from {least} to {most}")
    return int(found)
