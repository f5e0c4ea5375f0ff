"""What is known of the caller from the tokens of a request: the seam between authenticators and policies."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from envoy_authz.core.request import RequestView

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedToken:
    """A token whose signature, issuer, audience and times were verified (RFC 7519).

    `claims` is its payload as JSON values. `expires_at_s` is in unix seconds. `presenter` is `azp`, empty without it.
    """

    issuer: str
    subject: str
    audiences: frozenset[str]
    claims: Mapping[str, object]
    expires_at_s: float
    presenter: str = ""

    @property
    def principal(self) -> str:
        """What `requestPrincipals` compares: `issuer/subject`, or empty when either is."""
        return f"{self.issuer}/{self.subject}" if self.issuer and self.subject else ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a token was refused: the answer is 401 with `www_authenticate` (RFC 6750, section 3).

    `reason` is one word for metrics, `message` one line for people; neither holds anything of the token.
    """

    reason: str
    message: str
    www_authenticate: str


@dataclass(frozen=True, slots=True)
class Authentication:
    """What the authenticators found: the verified tokens (none when the request brought none), or a refusal.

    `set_headers` and `remove_headers` are for the request to the upstream: an identity header that is not set is
    removed, or a client could forge it. `remove_query_parameters` are the names of those that brought a token which
    is not to go on.
    """

    tokens: tuple[VerifiedToken, ...] = ()
    refusal: Refusal | None = None
    set_headers: Headers = ()
    remove_headers: tuple[str, ...] = field(default=())
    remove_query_parameters: tuple[str, ...] = ()


ANONYMOUS = Authentication()


class Authenticator(Protocol):
    """Authenticates requests, without waiting for anything: keys are fetched beside the request path."""

    def authenticate(self, request: RequestView) -> Authentication:
        """Return what is known of the caller of *request*. Never raises."""
