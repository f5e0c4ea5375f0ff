"""The request that a command is asked about: from flags, a CheckRequest as JSON, or a curl line."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from envoy_authz.commands.curl import request_from_curl
from envoy_authz.commands.source import Source
from envoy_authz.core.authentication import ANONYMOUS, Authentication, VerifiedToken
from envoy_authz.core.patterns import SPIFFE_SCHEME
from envoy_authz.core.request import Request
from envoy_authz.wire_json import request_from_json
from envoy_sidecar.settings import SettingsError

_LATER_S = 2.0**53
_MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what is known of its caller from tokens."""

    request: Request
    authentication: Authentication = ANONYMOUS


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class RequestOptions:
    """The request, whole or by its parts; what is given by its part wins."""

    request: Annotated[
        Path | None, Parameter(help="A CheckRequest as JSON; - for stdin.", allow_leading_hyphen=True)
    ] = None
    curl: Annotated[str | None, Parameter(help="The curl command line that sends it, in quotes.")] = None
    method: Annotated[str | None, Parameter(help="GET, if nothing else says.")] = None
    path: Annotated[str | None, Parameter(help="With its query; /, if nothing else says.")] = None
    host: Annotated[str | None, Parameter(help="The authority, with its port if it has one.")] = None
    header: Annotated[tuple[str, ...], Parameter(help="'name: value'; may be repeated.", negative=())] = ()
    body: Annotated[str | None, Parameter(help="The body, as text.")] = None
    scheme: Annotated[str | None, Parameter(help="http or https.")] = None
    principal: Annotated[
        str | None, Parameter(help="The caller's SPIFFE identity, with or without spiffe://.")
    ] = None
    address: Annotated[str | None, Parameter(help="The IP address of the connection's peer.")] = None
    port: Annotated[
        int | None,
        Parameter(validator=validators.Number(gte=1, lte=65535), help="That the client connected to."),
    ] = None
    sni: Annotated[str | None, Parameter(help="The server name in the TLS handshake.")] = None
    destination: Annotated[str | None, Parameter(help="The IP address that the client connected to.")] = None
    namespace: Annotated[str | None, Parameter(help="The workload's (context_extensions).")] = None
    label: Annotated[
        tuple[str, ...], Parameter(help="name=value of the workload (context_extensions).", negative=())
    ] = ()
    context: Annotated[
        tuple[str, ...], Parameter(help="name=value of context_extensions, for CEL.", negative=())
    ] = ()
    claims: Annotated[
        str | None, Parameter(help="A verified token's claims, as a JSON object, instead of a token.")
    ] = None

    def read(self, source: Source | None = None) -> Asked:
        """Return the request, its caller and its tokens as *source* knows them; without one, as they are shown.

        Raises SettingsError for what can't be read.
        """
        request = self._parts(self._base())
        if source is not None:
            request = replace(request, source_principal=source.callers.identify(request))
        if self.claims is not None:
            return Asked(request, Authentication(tokens=(_token(self.claims),)))
        if source is None or source.authenticator is None:
            return Asked(request)
        return Asked(request, source.authenticator.authenticate(request))

    def _base(self) -> Request:
        if self.request is not None and self.curl is not None:
            raise SettingsError("--request and --curl: give one of them")
        try:
            if self.request is not None:
                return request_from_json(_text(self.request))
            if self.curl is not None:
                return request_from_curl(self.curl)
        except ValueError as error:
            name = "--curl" if self.request is None else f"--request {self.request}"
            raise SettingsError(f"{name}: {error}") from None
        return Request(method="GET", path="/")

    def _parts(self, base: Request) -> Request:
        changes: dict[str, Any] = {
            "method": self.method,
            "path": self.path,
            "host": self.host,
            "body": None if self.body is None else self.body.encode(errors="surrogateescape"),
            "source_principal": None if self.principal is None else spiffe(self.principal),
            "source_address": self.address,
            "destination_address": self.destination,
            "scheme": self.scheme,
            "destination_port": self.port,
            "sni": self.sni,
            "request_headers": {**base.request_headers, **_pairs("--header", self.header, ":")},
            "context": {**base.context, **self._context()},
        }
        return replace(base, **{name: value for name, value in changes.items() if value is not None})

    def _context(self) -> dict[str, str]:
        context = _pairs("--context", self.context, "=")
        context |= {f"labels.{name}": value for name, value in _pairs("--label", self.label, "=").items()}
        return context if self.namespace is None else {"namespace": self.namespace, **context}


def spiffe(principal: str) -> str:
    """Return a principal as Envoy gives it; empty stays empty."""
    return principal if "://" in principal or not principal else SPIFFE_SCHEME + principal


def token_of(claims: Mapping[str, Any]) -> VerifiedToken:
    """Return the token whose payload is *claims*, taken as verified."""
    audience = claims.get("aud", ())
    return VerifiedToken(
        issuer=str(claims.get("iss", "")),
        subject=str(claims.get("sub", "")),
        audiences=frozenset([audience] if isinstance(audience, str) else map(str, audience)),
        claims=claims,
        expires_at_s=_LATER_S,
        presenter=str(claims.get("azp", "")),
    )


def _token(text: str) -> VerifiedToken:
    try:
        claims = json.loads(text)
        if not isinstance(claims, dict):
            raise TypeError
        return token_of(claims)
    except (ValueError, TypeError, RecursionError):
        raise SettingsError('--claims: write a JSON object, such as \'{"sub": "ann"}\'') from None


def _pairs(option: str, texts: Sequence[str], mark: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, parted, value = text.partition(mark)
        if not parted or not name.strip():
            raise SettingsError(f"{option} {text!r}: write it like name{mark}value")
        name = name.strip().lower() if mark == ":" else name
        value = value.strip() if mark == ":" else value
        found[name] = f"{found[name]},{value}" if name in found and mark == ":" else value
    return found


def _text(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read(_MAX_BYTES)
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"--request {path}: {error.strerror or error}") from None
