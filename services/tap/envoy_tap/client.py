"""The session API from the operator's side."""

import getpass
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from envoy_sidecar.transport.address import Address

_PREFIX = "/api/v1"
_WHO_HEADER = "x-tap-who"
_TIMEOUT_S = 10.0
_SILENCE_S = 30.0
_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- asked for, not listened on


class ApiError(Exception):
    """The service refused, or did not answer; the message is for the operator.

    `status` is None without an answer. `position` is the character of the text at `path` that is to blame, from 0.
    """

    def __init__(
        self, message: str, status: int | None = None, path: str = "", position: int | None = None
    ) -> None:
        self.status = status
        self.path = path
        self.position = position
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class SessionClient:
    """Asks the service whose admin server is at *admin*: HOST:PORT, unix:PATH, or a URL. Every method raises ApiError."""

    admin: str
    token: str | None = None

    def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Begin a session; return it."""
        return self._ask("POST", "/sessions", asked)

    def sessions(self) -> list[dict[str, Any]]:
        """Return all sessions."""
        found: list[dict[str, Any]] = self._ask("GET", "/sessions")["sessions"]
        return found

    def show(self, session_id: str) -> dict[str, Any]:
        """Return one session."""
        return self._ask("GET", f"/sessions/{session_id}")

    def stop(self, session_id: str) -> dict[str, Any]:
        """End a session; return it."""
        return self._ask("POST", f"/sessions/{session_id}/stop")

    def approve(self, session_id: str) -> dict[str, Any]:
        """Let a session begin that waits for a second person; return it."""
        return self._ask("POST", f"/sessions/{session_id}/approve")

    def delete(self, session_id: str) -> None:
        """Remove a session and what it captured."""
        self._ask("DELETE", f"/sessions/{session_id}")

    def exchanges(self, session_id: str, **query: str | int) -> dict[str, Any]:
        """Return a page of summaries: `exchanges`, `last` and `next`."""
        return self._ask("GET", f"/sessions/{session_id}/exchanges", query=query)

    def exchange(self, session_id: str, seq: int) -> dict[str, Any]:
        """Return one exchange: `summary`, `exchange` and `decoded`."""
        return self._ask("GET", f"/sessions/{session_id}/exchanges/{seq}")

    def nodes(self) -> list[dict[str, Any]]:
        """Return the connected proxies."""
        found: list[dict[str, Any]] = self._ask("GET", "/nodes")["nodes"]
        return found

    def audit(self, limit: int) -> list[dict[str, Any]]:
        """Return the last entries of the audit log."""
        found: list[dict[str, Any]] = self._ask("GET", "/audit", query={"limit": limit})["entries"]
        return found

    def export(self, session_id: str, **query: str) -> Iterator[bytes]:
        """Yield an export as it comes."""
        with self._client() as client, _told(self.admin):
            timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
            url = f"{_PREFIX}/sessions/{session_id}/export"
            with client.stream("GET", url, params=query, timeout=timeout) as answer:
                _check(answer)
                yield from answer.iter_bytes()

    def watch(self, session_id: str, **query: str | int) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield events (name and data) until the session has ended."""
        with self._client() as client, _told(self.admin):
            timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
            url = f"{_PREFIX}/sessions/{session_id}/watch"
            with client.stream("GET", url, params=query, timeout=timeout) as answer:
                _check(answer)
                name = ""
                for line in answer.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        yield name, json.loads(line.removeprefix("data: "))

    def _ask(
        self,
        method: str,
        path: str,
        data: dict[str, Any] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> dict[str, Any]:
        with self._client() as client, _told(self.admin):
            answer = client.request(method, _PREFIX + path, json=data, params=query)
            _check(answer)
            found: dict[str, Any] = answer.json() if answer.content else {}
            return found

    def _client(self) -> httpx.Client:
        headers = {_WHO_HEADER: _user()} | ({"authorization": f"Bearer {self.token}"} if self.token else {})
        transport, origin = _reached(self.admin)
        return httpx.Client(transport=transport, base_url=origin, headers=headers, timeout=_TIMEOUT_S)


def check_admin(text: str) -> None:
    """Raise ValueError for what is no admin address: HOST:PORT, unix:PATH, or http(s)://HOST."""
    if "://" not in text:
        Address.parse(text)
    elif urlsplit(text).scheme not in {"http", "https"} or not urlsplit(text).hostname:
        raise ValueError(f"{text!r} is no address; write HOST:PORT, unix:PATH or https://HOST")


def _reached(admin: str) -> tuple[httpx.HTTPTransport, str]:
    if "://" in admin:
        secure = admin.startswith("https:")
        return httpx.HTTPTransport(verify=True if secure else _no_tls()), admin.rstrip("/")
    address = Address.parse(admin)
    if address.is_unix:
        return httpx.HTTPTransport(uds=address.path, verify=_no_tls()), "http://localhost"
    host = "127.0.0.1" if address.host in _ANY else address.host
    return httpx.HTTPTransport(verify=_no_tls()), f"http://{Address(host, address.port)}"


def _no_tls() -> ssl.SSLContext:
    # The default one reads all certificate authorities, for a connection that has no TLS.
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def _told(admin: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, ValueError) as error:
        raise ApiError(f"no answer from {admin}: {str(error) or type(error).__name__}") from None


def _check(answer: httpx.Response) -> None:
    if answer.is_success:
        return
    answer.read()
    status = answer.status_code
    try:
        found = answer.json()["error"]
        parts = (found.get("path"), found["message"])
        hint = f"; {found['hint']}" if found.get("hint") else ""
        said = ": ".join(part for part in parts if part) + hint
        raise ApiError(said, status, found.get("path") or "", found.get("position"))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ApiError(f"the answer is {status} {answer.reason_phrase}", status) from None


def _user() -> str:
    try:
        return "".join(
            char for char in getpass.getuser() if char.isascii() and (char.isalnum() or char in "._@-")
        )
    except (OSError, KeyError, ImportError):
        return ""
