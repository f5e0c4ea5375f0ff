"""A small HTTP client over the standard library, for scripted traffic: one connection a request, no redirects."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any

from envoy_demo.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Request:
    """One request to be sent."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One answer; header names are in lower case, values of repeated ones are joined by commas."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """Return the body parsed as JSON; ValueError if it is not."""
        return json.loads(self.body)


def send(port: int, request: Request, timeout_seconds: float = 10) -> Response:
    """Send *request* to a loopback *port* and return the answer, of whatever status.

    Raises OSError or http.client.HTTPException when there is no (whole) answer within *timeout_seconds*.
    """
    connection = HTTPConnection(LOOPBACK, port, timeout=timeout_seconds)
    try:
        connection.request(request.method, request.path, request.body or None, dict(request.headers))
        answer = connection.getresponse()
        headers: dict[str, str] = {}
        for name, value in answer.getheaders():
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        return Response(answer.status, headers, answer.read())
    finally:
        connection.close()


def get(port: int, path: str, timeout_seconds: float = 10, **headers: str) -> Response:
    """GET *path*; a keyword such as `x_user` is the header `x-user`. Raises as `send` does."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(port, Request("GET", path, named), timeout_seconds)


def answers_ok(port: int, path: str) -> bool | None:
    """Return True if GET *path* answers 200, else None: a probe for `Process.until`."""
    try:
        return True if get(port, path, timeout_seconds=2).status == 200 else None  # noqa: PLR2004 - HTTP's OK
    except (OSError, HTTPException):
        return None
