"""What the tap service has captured, as its API on the admin address tells it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

from envoy_demo.client import get

_SESSIONS = "/api/v1/sessions"


@dataclass(frozen=True, slots=True)
class Captured:
    """One exchange as the tap service stored it; header names in lower case, the last of repeated ones."""

    method: str
    path: str
    request_headers: dict[str, str]
    request_body: str
    status: int
    response_headers: dict[str, str]
    response_body: str
    truncated: bool
    incomplete: bool

    @classmethod
    def of(cls, exchange: dict[str, Any]) -> Self:
        """Read one exchange; KeyError or TypeError if it is not of the form agreed on."""
        request = exchange["request"] or {}
        response = exchange["response"] or {}
        return cls(
            method=request.get("method") or "",
            path=request.get("path") or "",
            request_headers=dict(request.get("headers", ())),
            request_body=request.get("body", ""),
            status=response.get("status") or 0,
            response_headers=dict(response.get("headers", ())),
            response_body=response.get("body", ""),
            truncated=exchange["flags"]["truncated"],
            incomplete=exchange["flags"]["incomplete"],
        )


def sessions(admin_port: int) -> list[str]:
    """Return the ids of all sessions, oldest first."""
    return [session["id"] for session in get(admin_port, _SESSIONS).json()["sessions"]]


def exchanges(admin_port: int, session_id: str, wanted: str = "") -> Iterator[dict[str, Any]]:
    """Yield the exchanges of a session that fulfil a predicate, oldest first; KeyError for an answer that is an error."""
    after: int | None = 0
    while after is not None:
        path = f"{_SESSIONS}/{session_id}/exchanges"
        page = get(admin_port, f"{path}?after={after}&filter={quote(wanted)}").json()
        for summary in page["exchanges"]:
            yield get(admin_port, f"{path}/{summary['seq']}").json()["exchange"]
        after = page["next"]


def find(admin_port: int, request_id: str) -> Captured | None:
    """Return the exchange, of any session, of the request with that x-request-id; None while there is none."""
    for session_id in sessions(admin_port):
        for exchange in exchanges(admin_port, session_id, f"header[x-request-id] = {request_id}"):
            return Captured.of(exchange)
    return None
