"""Keys and tokens for tests, made by cryptography and json alone, so that any malformed one can be made too."""

import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import get_default_algorithms

from envoy_authz.tokens.keys import KeySet, parse_jwks
from envoy_authz.tokens.strict import encode_base64url

NOW_S = 1_800_000_000.0
ISSUER = "https://issuer.example"
AUDIENCE = "shop"
ALGORITHMS = get_default_algorithms()

RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
ED25519_KEY = ed25519.Ed25519PrivateKey.generate()
ED448_KEY = ed448.Ed448PrivateKey.generate()


def public_jwk(key: Any, **members: object) -> dict[str, object]:
    """Return the JWK of the public half of *key*, with *members* besides."""
    family = {"RSA": "RS256", "EC": "ES256"}
    kind = "RSA" if isinstance(key, rsa.RSAPrivateKey) else "EC"
    if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey):
        raw: Any = ALGORITHMS["EdDSA"].to_jwk(key.public_key(), as_dict=True)
    else:
        raw = ALGORITHMS[family[kind]].to_jwk(key.public_key(), as_dict=True)
    raw.pop("key_ops", None)
    return {**raw, **members}


def jwks(*entries: Mapping[str, object]) -> str:
    return json.dumps({"keys": list(entries)})


JWKS = jwks(
    public_jwk(RSA_KEY, kid="rsa", use="sig"),
    *(public_jwk(key, kid=name) for name, key in EC_KEYS.items()),
    public_jwk(ED25519_KEY, kid="ed25519"),
    public_jwk(ED448_KEY, kid="ed448"),
)
KEYS = {"rsa": RSA_KEY, **EC_KEYS, "ed25519": ED25519_KEY, "ed448": ED448_KEY}


def claims(**changes: object) -> dict[str, object]:
    """Return good claims with *changes*; a change to None removes."""
    made: dict[str, object] = {
        "iss": ISSUER,
        "sub": "alice",
        "aud": AUDIENCE,
        "iat": int(NOW_S) - 10,
        "exp": int(NOW_S) + 3600,
    }
    made.update(changes)
    return {name: value for name, value in made.items() if value is not None}


def segment(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return encode_base64url(data)


def sign(signed: str, algorithm: str, key: Any) -> str:
    return encode_base64url(ALGORITHMS[algorithm].sign(signed.encode(), key))


def token(
    payload: object = None,
    *,
    algorithm: str = "RS256",
    kid: str | None = "rsa",
    key: Any = None,
    header: Mapping[str, object] | bytes | None = None,
) -> str:
    """Return a token; *header* as bytes is the whole header, as a mapping it is added to the usual one."""
    head: object = header
    if not isinstance(header, bytes):
        usual = {"alg": algorithm, "typ": "JWT"} | ({} if kid is None else {"kid": kid})
        head = usual | dict(header or {})
    signed = f"{segment(head)}.{segment(claims() if payload is None else payload)}"
    signing_key = KEYS[kid or "rsa"] if key is None else key
    return f"{signed}.{sign(signed, algorithm, signing_key)}"


class Source:
    """A key source that counts how often it was asked to look again."""

    def __init__(self, keys: KeySet | str | None = JWKS) -> None:
        self.keys = parse_jwks(keys) if isinstance(keys, str) else keys
        self.wanted = 0

    def want(self) -> None:
        self.wanted += 1
