"""The session API from the operator's side."""

import getpass
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from envoy_sidecar.transport.address import Address

_PREFIX = "/api/v1"
_WHO_HEADER = "x-tap-who"
_TIMEOUT_S = 10.0
_SILENCE_S = 30.0
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- asked for, not listened on


class ApiError(Exception):
    """The service refused, or did not answer; the message is for the operator."""


@dataclass(frozen=True, slots=True)
class SessionClient:
    """Asks the service whose admin server is at *admin*; every method raises ApiError."""

    admin: Address
    token: str | None = None

    def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin a session; return it."""
        return self._ask("POST", "/sessions", asked)

    def list(self) -> list[dict[str, Any]]:
        """Return all sessions."""
        found: list[dict[str, Any]] = self._ask("GET", "/sessions")["sessions"]
        return found

    def show(self, session_id: str) -> dict[str, Any]:
        """Return one session."""
        return self._ask("GET", f"/sessions/{session_id}")

    def stop(self, session_id: str) -> dict[str, Any]:
        """End a session; return it."""
        return self._ask("POST", f"/sessions/{session_id}/stop")

    def delete(self, session_id: str) -> None:
        """Remove a session and what it captured."""
        self._ask("DELETE", f"/sessions/{session_id}")

    def watch(self, session_id: str, replay: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield events (name and data) until the session has ended; first the last *replay* exchanges stored."""
        with self._client() as client, _told(self.admin):
            timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
            url = f"{_PREFIX}/sessions/{session_id}/watch?replay={replay}&full=1"
            with client.stream("GET", url, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                name = ""
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield name, json.loads(line.removeprefix("data: "))

    def _ask(self, method: str, path: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        with self._client() as client, _told(self.admin):
            answer = client.request(method, _PREFIX + path, json=data)
            if not answer.is_success:
                raise _refusal(answer)
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found

    def _client(self) -> httpx.Client:
        headers = {_WHO_HEADER: _user()} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        if self.admin.is_unix:
            transport, origin = httpx.HTTPTransport(uds=self.admin.path, verify=_NO_TLS), "http://localhost"
        else:
            host = "127.0.0.1" if self.admin.host in _ANY else self.admin.host
            transport, origin = (
                httpx.HTTPTransport(verify=_NO_TLS),
                f"http://{Address(host, self.admin.port)}",
            )
        return httpx.Client(transport=transport, base_url=origin, headers=headers, timeout=_TIMEOUT_S)


@contextmanager
def _told(admin: Address) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, ValueError) as error:
        raise ApiError(f"no answer from {admin}: {str(error) or type(error).__name__}") from None


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        found = answer.json()["error"]
        parts = (found.get("path"), found["message"])
        hint = f"; {found['hint']}" if found.get("hint") else ""
        return ApiError(": ".join(part for part in parts if part) + hint)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ApiError(f"the answer is {answer.status_code} {answer.reason_phrase}")


def _user() -> str:
    try:
        return "".join(
            char for char in getpass.getuser() if char.isascii() and (char.isalnum() or char in "._@-")
        )
    except (OSError, KeyError, ImportError):
        return ""
