"""Why an answer has no limit: Envoy's protocol does not say, so the service's admin server is asked as well."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import httpx
from cyclopts import Parameter

from envoy_ratelimit import http, wire_json
from envoy_ratelimit.commands.output import say
from envoy_ratelimit.core.limiter import UNLIMITED_REMAINING
from envoy_ratelimit.settings import DEFAULT_ADMIN
from envoy_sidecar import admin_client
from envoy_sidecar.transport.address import Address

_HERE = frozenset({"127.0.0.1", "localhost", "::1", "0.0.0.0", "::"})  # noqa: S104 -- asked for, not listened on
_STORE = "store"
NO_DOMAIN = "none: there is no such domain"
NO_MATCH = "none: no limit matches"
REPLACED = "none: another limit replaces it"
UNLIMITED = "unlimited"
STORE_FAILED = "not counted: the store failed"
NONE_OR_FAILED = "none, or the store failed"


def _is_address(_type: Any, value: str) -> None:
    if value:
        Address.parse(value)


ServiceAdminOption = Annotated[
    str,
    Parameter(
        validator=_is_address,
        help="The service's admin address, which tells why there is no limit; unless given, "
        f"{DEFAULT_ADMIN} if that is of the service that is asked.",
    ),
]


@dataclass(frozen=True, slots=True)
class Uncounted:
    """What was asked, and where: *admin* is the admin address of the service that listens on *listen*.

    Without that the default is asked, if the service is on this machine, and what answers there is that service.
    """

    request: bytes
    domain: str
    listen: str
    admin: str

    def explain(self, answer: dict[str, Any]) -> None:
        """Give each status of *answer* that has no limit a `why`, and say on stderr what is behind it."""
        statuses: Sequence[dict[str, Any]] = answer.get("statuses", [])
        unsaid = [status for status in statuses if "currentLimit" not in status]
        for status in unsaid:
            if status.get("limitRemaining") == UNLIMITED_REMAINING:
                status["why"] = UNLIMITED
            elif status.get("code") == wire_json.OVER_LIMIT:
                status["why"] = STORE_FAILED
            else:
                status["why"] = NONE_OR_FAILED
        if all(status["why"] == UNLIMITED for status in unsaid):
            return
        try:
            address = self._address()
            if address is not None:
                self._look(address, statuses)
        except (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError) as error:
            # The last four: what answers there is something else.
            if self.admin:
                say(f"--admin {self.admin} does not tell why: {error}")

    def _look(self, address: Address, statuses: Sequence[dict[str, Any]]) -> None:
        body = wire_json.request_as_json(self.request).encode()
        answer = admin_client.post(address, "/limits", body)
        answer.raise_for_status()
        found = answer.json()
        domains, limits = found["domains"], found["limits"]
        for status, limit in zip(statuses, limits, strict=True):
            if status.get("why") == NONE_OR_FAILED:
                status["why"] = _why(limit, known=self.domain in domains)
        if self.domain not in domains:
            say(f"the domain {self.domain!r} is not configured: {', '.join(domains) or 'there is none'}")
        if any(status.get("why") == STORE_FAILED for status in statuses):
            for line in _concerns(address):
                say(line)

    def _address(self) -> Address | None:
        """Return where to ask; None if it is not known to be the service's own."""
        if self.admin:
            return Address.parse(self.admin)
        asked, address = Address.parse(self.listen), Address.parse(DEFAULT_ADMIN)
        if not (asked.is_unix or asked.host in _HERE):
            return None
        config = admin_client.get(address, "/config").raise_for_status().json()
        own = config.get("worker", config)
        if own["service"] != "ratelimit":
            return None
        listens = Address.parse(own["listen"])
        if asked.is_unix and listens.is_unix and own is not config:
            # Each worker has its own socket, and this is the first one's.
            return address if Path(asked.path).parent == Path(listens.path).parent else None
        return address if (asked.path, asked.port) == (listens.path, listens.port) else None


def _why(limit: dict[str, Any] | None, *, known: bool) -> str:
    if not known:
        return NO_DOMAIN
    if limit is None:
        return NO_MATCH
    return REPLACED if limit["limit"] == http.REPLACED else STORE_FAILED


def _concerns(address: Address) -> Iterator[str]:
    lines = admin_client.get(address, "/readyz").text.splitlines()
    return (line for line in lines if _STORE in line)
