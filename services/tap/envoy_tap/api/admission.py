"""Who is let in at the API: by token, or whoever is on this machine."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from envoy_sidecar.transport.address import Address
from envoy_tap.access import Authority, Person, Role
from envoy_tap.api.refusals import RefusedError

WHO_HEADER = "x-tap-who"
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_OWN = frozenset({"none", "same-origin"})
_HINT = "give --tokens FILE or --jwt FILE"


@dataclass(frozen=True, slots=True)
class Access:
    """Who is let in: by token; without any whoever is on this machine, and nobody if *address* is not loopback."""

    authority: Authority
    address: Address

    async def person(self, request: Request) -> Person:
        """Return who asks; raises RefusedError."""
        if self.authority.takes_tokens:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            is_bearer = scheme.lower() == "bearer"
            person = await self.authority.person(token.strip()) if is_bearer else None
            if person is None:
                raise RefusedError(401, "a valid bearer token is needed", hint="authorization: Bearer TOKEN")
            return person
        if not (self.address.is_unix or _is_loopback(self.address.host)):
            raise RefusedError(403, "without tokens the API is open on loopback only", hint=_HINT)
        # A page in a browser on this machine may reach us as well: by another name, or from another origin. Our own
        # console comes from this one.
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        is_foreign = request.headers.get("sec-fetch-site", "none") not in _OWN or (
            origin is not None and urlsplit(origin).netloc != host
        )
        if is_foreign or not (self.address.is_unix or _is_loopback(_name(host))):
            raise RefusedError(403, "without tokens the API is not open to other web pages", hint=_HINT)
        # Nobody vouches for the name; it is for the log.
        claimed = request.headers.get(WHO_HEADER, "")
        return Person(f"local:{claimed}" if _NAME.fullmatch(claimed) else "local", Role.ADMIN)


def check_role(person: Person, role: Role) -> None:
    """Raise RefusedError if *person* may not do what takes *role*."""
    if person.role < role:
        has, takes = person.role.name.lower(), role.name.lower()
        raise RefusedError(403, f"{person.name} is {has}; this takes {takes}")


def _name(host: str) -> str:
    return host.rpartition(":")[0] or host


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
