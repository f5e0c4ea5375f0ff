"""JSON Web Tokens under a strict layer: what is refused, and with which keys the rest is verified."""

from envoy_authz.tokens.flaws import Flaw, TokenError
from envoy_authz.tokens.jwt import Jwt, parse_jwt
from envoy_authz.tokens.keys import Key, KeySet, parse_jwk, parse_jwks
from envoy_authz.tokens.verify import Expectations, KeySource, verify

__all__ = [
    "Expectations",
    "Flaw",
    "Jwt",
    "Key",
    "KeySet",
    "KeySource",
    "TokenError",
    "parse_jwk",
    "parse_jwks",
    "parse_jwt",
    "verify",
]
