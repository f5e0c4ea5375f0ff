"""The request as policies see it."""

from dataclasses import dataclass
from typing import Protocol


class RequestView(Protocol):
    """What a decision may ask of a request; an adapter answers from its own message instead of copying all of it.

    Each attribute is named for the field of `envoy.service.auth.v3.AttributeContext` that it comes from.
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


@dataclass(frozen=True, slots=True)
class Request:
    """A request by value, for tests, tools and callers from Python; the fields are those of `RequestView`."""

    method: str
    path: str
    source_principal: str = ""
