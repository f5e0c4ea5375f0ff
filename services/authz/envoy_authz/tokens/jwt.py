"""The compact form of a signed JWT (RFC 7515 section 7.1, RFC 7519), taken apart strictly and not yet verified."""

from collections.abc import Mapping
from dataclasses import dataclass

from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.strict import decode_base64url, parse_object

MAX_TOKEN_LENGTH = 16_384
"""How long a token may be, in characters."""

_SEGMENTS = 3
# `crit` lists extensions that must be understood, and none is (RFC 7515 section 4.1.11); `b64` and `zip` change what
# is signed or read, and a reader that passes them over sees another token (RFC 7797, RFC 7516 section 4.1.3).
_REFUSED = ("crit", "b64", "zip", "enc")


@dataclass(frozen=True, slots=True, eq=False)
class Jwt:
    """A JWT as it was received: nothing in it is to be believed until `verify` has returned it.

    `signed` is what the signature covers; `payload` is the payload's segment, still in base64url. `key_id` is None
    when the header names no key; `type` is in lower case, without `application/`, and empty when not given.
    """

    algorithm: str
    key_id: str | None
    type: str
    header: Mapping[str, object]
    claims: Mapping[str, object]
    payload: str
    signed: bytes
    signature: bytes


def parse_jwt(text: str) -> Jwt:
    """Return the parts of *text*; raises TokenError for all that has more than one reading, or none."""
    if len(text) > MAX_TOKEN_LENGTH:
        raise TokenError(Flaw.TOO_LARGE)
    segments = text.split(".")
    if len(segments) != _SEGMENTS:
        raise TokenError(Flaw.MALFORMED)
    try:
        header = parse_object(decode_base64url(segments[0]))
        claims = parse_object(decode_base64url(segments[1]))
        signature = decode_base64url(segments[2])
    except (ValueError, RecursionError):
        raise TokenError(Flaw.MALFORMED) from None
    if any(name in header for name in _REFUSED):
        raise TokenError(Flaw.CRITICAL)
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or not isinstance(key_id, str | None):
        raise TokenError(Flaw.MALFORMED)
    if key_id is None and "kid" in header:
        raise TokenError(Flaw.MALFORMED)
    return Jwt(
        algorithm=algorithm,
        key_id=key_id,
        type=kind.lower().removeprefix("application/"),
        header=header,
        claims=claims,
        payload=segments[1],
        signed=text[: len(segments[0]) + 1 + len(segments[1])].encode("ascii"),
        signature=signature,
    )
