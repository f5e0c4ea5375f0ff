"""The model of Istio's `RequestAuthentication` (security.istio.io/v1)."""

from dataclasses import dataclass
from pathlib import Path

from envoy_authz.tokens.algorithms import ALL
from envoy_authz.tokens.verify import DEFAULT_SKEW_S

DEFAULT_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class HeaderPlace:
    """A header that may bring a token, after `prefix` (`Bearer `), which may be empty; `name` is in lower case."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class JwtRule:
    """One of `spec.jwtRules`: whose tokens, where they are found, and what becomes of them.

    Keys are in `jwks` (the text of a JWK Set), else at `jwks_uri`, else where OpenID discovery finds them. Without a
    place of its own a token is looked for in `authorization: Bearer` and in the query parameter `access_token`. Each
    of `output_claim_to_headers` is (header, claim); names of headers are in lower case. `algorithms`, `types`,
    `require_expiry` and `skew_s` are ours; see `tokens.Expectations`.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    from_headers: tuple[HeaderPlace, ...] = ()
    from_params: tuple[str, ...] = ()
    from_cookies: tuple[str, ...] = ()
    output_payload_to_header: str = ""
    output_claim_to_headers: tuple[tuple[str, str], ...] = ()
    forward_original_token: bool = False
    timeout_s: float = DEFAULT_TIMEOUT_S
    algorithms: frozenset[str] = ALL
    types: frozenset[str] = frozenset()
    require_expiry: bool = False
    skew_s: float = DEFAULT_SKEW_S

    @property
    def output_headers(self) -> tuple[str, ...]:
        """All headers that the rule may set, and that no client may bring."""
        payload = (self.output_payload_to_header,) if self.output_payload_to_header else ()
        return (*payload, *(header for header, _claim in self.output_claim_to_headers))


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """One document: it applies to the workloads of `namespace` (of all, if empty) with all of `match_labels`.

    `files` are those that its keys were read from.
    """

    name: str
    namespace: str = ""
    match_labels: tuple[tuple[str, str], ...] = ()
    rules: tuple[JwtRule, ...] = ()
    files: tuple[Path, ...] = ()

    @property
    def full_name(self) -> str:
        """`namespace/name`, or `name` alone when there is no namespace."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name
