"""Is this token valid, here and now? (RFC 7519 section 7.2, RFC 8725)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.tokens.algorithms import ALGORITHMS, ALL
from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import Jwt
from envoy_authz.tokens.keys import Key, KeySet

DEFAULT_SKEW_S = 60.0
"""By how much clocks may differ, in seconds."""

NEVER = float("inf")


class KeySource(Protocol):
    """Where an issuer's keys come from; both members are used on the request path and return at once."""

    @property
    def keys(self) -> KeySet | None:
        """The keys now; None when there are none that may still be used. The same object as long as none changed."""

    def want(self) -> None:
        """Tell that a token named a key that is not here, so that the keys are looked up again soon. Any thread."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a token must be to be accepted.

    An empty `audiences` accepts any. `types` are those of the header's `typ`, in lower case without `application/`
    (`at+jwt`, RFC 9068); empty accepts any. `skew_s` is in seconds, 0 or more.
    """

    issuer: str
    audiences: frozenset[str] = frozenset()
    algorithms: frozenset[str] = ALL
    types: frozenset[str] = frozenset()
    require_expiry: bool = False
    skew_s: float = DEFAULT_SKEW_S


def verify(jwt: Jwt, source: KeySource, expected: Expectations, now_s: float) -> VerifiedToken:
    """Return the token that *jwt* is; *now_s* is in unix seconds. Raises TokenError if it must be refused."""
    check_signature(jwt, source, expected.algorithms)
    if expected.types and jwt.type not in expected.types:
        raise TokenError(Flaw.TYPE)
    return check_claims(jwt.claims, expected, now_s)


def check_signature(jwt: Jwt, source: KeySource, algorithms: frozenset[str]) -> None:
    """Check that exactly one key of *source* may verify *jwt*, and that it does; raises TokenError.

    Nothing in the token chooses the key but `kid`: `jku`, `jwk`, `x5u` and `x5c` are never looked at.
    """
    if jwt.algorithm not in algorithms or jwt.algorithm not in ALGORITHMS:
        raise TokenError(Flaw.ALGORITHM)
    keys = source.keys
    if keys is None:
        source.want()
        raise TokenError(Flaw.KEYS_UNAVAILABLE)
    found = keys.find(jwt.key_id, jwt.algorithm)
    if not found:
        source.want()
        raise TokenError(Flaw.KEY_UNKNOWN)
    if len(found) > 1:
        raise TokenError(Flaw.KEY_AMBIGUOUS)
    check_signature_by(jwt, found[0])


def check_signature_by(jwt: Jwt, key: Key) -> None:
    """Check that *key* may verify *jwt*, and that it does; raises TokenError."""
    if jwt.algorithm not in key.algorithms:
        raise TokenError(Flaw.ALGORITHM)
    if not ALGORITHMS[jwt.algorithm].verify(jwt.signed, key.material, jwt.signature):
        raise TokenError(Flaw.SIGNATURE)


def check_claims(claims: Mapping[str, object], expected: Expectations, now_s: float) -> VerifiedToken:
    """Return the token that *claims* make, which were verified by signature; raises TokenError."""
    issuer, subject, presenter = (_text(claims, name) for name in ("iss", "sub", "azp"))
    if issuer != expected.issuer:
        raise TokenError(Flaw.ISSUER)
    audiences = read_audiences(claims)
    if expected.audiences and expected.audiences.isdisjoint(audiences):
        raise TokenError(Flaw.AUDIENCE)
    expires_s = _check_times(claims, expected, now_s)
    return VerifiedToken(issuer, subject, audiences, claims, expires_s, presenter)


def _check_times(claims: Mapping[str, object], expected: Expectations, now_s: float) -> float:
    """Return the time from which the token is refused, the skew included; raises TokenError if that is now."""
    expiry, start, issued = (read_time(claims, name) for name in ("exp", "nbf", "iat"))
    if expiry is None and expected.require_expiry:
        raise TokenError(Flaw.CLAIM)
    if expiry is not None and now_s >= expiry + expected.skew_s:
        raise TokenError(Flaw.EXPIRED)
    if any(time is not None and now_s < time - expected.skew_s for time in (start, issued)):
        raise TokenError(Flaw.NOT_YET_VALID)
    return NEVER if expiry is None else expiry + expected.skew_s


def read_time(claims: Mapping[str, object], name: str) -> float | None:
    """Return a NumericDate (RFC 7519 section 2) in unix seconds, None if absent; raises TokenError for another type."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(Flaw.CLAIM)
    return float(value)


def read_audiences(claims: Mapping[str, object]) -> frozenset[str]:
    """Return `aud` (RFC 7519 section 4.1.3), empty if absent; raises TokenError unless it is text or a list of it."""
    if "aud" not in claims:
        return frozenset()
    value = claims["aud"]
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise TokenError(Flaw.CLAIM)
    return frozenset(values)


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise TokenError(Flaw.CLAIM)
    return value
