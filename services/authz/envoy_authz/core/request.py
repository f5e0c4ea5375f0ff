"""The request as policies see it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class RequestView(Protocol):
    """What a decision may ask of a request; an adapter answers from its own message instead of copying all of it.

    Each attribute is named for the field of `envoy.service.auth.v3.AttributeContext` that it comes from; text is
    empty, and a port 0, when Envoy did not send it.
    """

    @property
    def method(self) -> str:
        """`request.http.method`, case-sensitive (RFC 9110 section 9.1)."""

    @property
    def path(self) -> str:
        """`request.http.path` as received, with query and fragment; policies compare it normalized."""

    @property
    def source_principal(self) -> str:
        """`source.principal`: the peer certificate's first URI SAN, else DNS SAN, else subject; empty if unknown."""

    @property
    def host(self) -> str:
        """`request.http.host` as received: the authority, with its port if it has one."""

    @property
    def scheme(self) -> str:
        """`request.http.scheme`."""

    @property
    def body(self) -> bytes:
        """`request.http.body` or `raw_body`: what Envoy buffered, which may be cut or nothing at all."""

    @property
    def source_address(self) -> str:
        """`source.address`: the IP address of the connection's peer; a header can't change it."""

    @property
    def source_certificate(self) -> str:
        """`source.certificate`: the peer certificate as URL-encoded PEM, with `include_peer_certificate`."""

    @property
    def destination_principal(self) -> str:
        """`destination.principal`: the identity in the certificate that Envoy itself shows."""

    @property
    def destination_address(self) -> str:
        """`destination.address`: the IP address that the client connected to."""

    @property
    def destination_port(self) -> int:
        """`destination.address`: the port that the client connected to."""

    @property
    def destination_labels(self) -> Mapping[str, str]:
        """`destination.labels`: from Envoy's own node metadata."""

    @property
    def sni(self) -> str:
        """`tls_session.sni`: the server name that the client asked for."""

    @property
    def context(self) -> Mapping[str, str]:
        """`context_extensions`: what the operator wrote at the listener or the route."""

    def header(self, name: str) -> str | None:
        """Return the value of a request header, or None; those of repeated lines are joined by commas.

        *name* is in lower case. Envoy may be told to leave headers out, so that None proves nothing.
        """

    def headers(self) -> Mapping[str, str]:
        """Return all request headers, names in lower case, as `header` gives them; this may copy."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request by value, for tests, tools and callers from Python; the fields are those of `RequestView`.

    `request_headers` has names in lower case.
    """

    method: str
    path: str
    source_principal: str = ""
    host: str = ""
    scheme: str = ""
    body: bytes = b""
    source_address: str = ""
    source_certificate: str = ""
    destination_principal: str = ""
    destination_address: str = ""
    destination_port: int = 0
    destination_labels: Mapping[str, str] = field(default_factory=dict)
    sni: str = ""
    context: Mapping[str, str] = field(default_factory=dict)
    request_headers: Mapping[str, str] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """Return the value of a request header, or None."""
        return self.request_headers.get(name)

    def headers(self) -> Mapping[str, str]:
        """Return all request headers."""
        return self.request_headers
