"""JSON Web Keys: what an issuer verifies with, each key bound to the algorithms that it may be used for (RFC 7517)."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    SECP384R1,
    SECP521R1,
    EllipticCurve,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from envoy_authz.tokens.algorithms import fitting
from envoy_authz.tokens.strict import decode_base64url, encode_base64url, parse_object

MAX_KEYS = 200
"""How many keys a set may hold."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
_MIN_EXPONENT = 65537
_MAX_EXPONENT_BITS = 64
_CURVES: Mapping[str, EllipticCurve] = {"P-256": SECP256R1(), "P-384": SECP384R1(), "P-521": SECP521R1()}
# What a thumbprint is made of (RFC 7638 section 3.2, RFC 8037 section 2).
_REQUIRED = {"RSA": ("e", "kty", "n"), "EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x")}
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})


class UnusableKeyError(ValueError):
    """A key that can't or must not be used; the message says why, without anything of the key."""


@dataclass(frozen=True, slots=True, eq=False)
class Key:
    """A public key: `algorithms` are the only ones it verifies, `material` is cryptography's object for it.

    `thumbprint` is that of RFC 7638 by SHA-256, in base64url; `uses` is JWK's `use`, empty when not given.
    """

    key_id: str | None
    algorithms: frozenset[str]
    material: Any
    thumbprint: str
    use: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class KeySet:
    """The keys of one issuer at one time; `skipped` says which were left out, and why."""

    keys: tuple[Key, ...]
    skipped: tuple[str, ...] = ()

    @property
    def identity(self) -> frozenset[tuple[str | None, str, frozenset[str]]]:
        """What makes two sets the same: the names, keys and algorithms in them."""
        return frozenset((key.key_id, key.thumbprint, key.algorithms) for key in self.keys)

    def find(self, key_id: str | None, algorithm: str) -> tuple[Key, ...]:
        """Return the keys that may verify *algorithm* and are named *key_id*, or else have no name.

        Without a *key_id* these are all keys for *algorithm*.
        """
        fitting_keys = [key for key in self.keys if algorithm in key.algorithms]
        if key_id is None:
            return tuple(fitting_keys)
        named = tuple(key for key in fitting_keys if key.key_id == key_id)
        return named or tuple(key for key in fitting_keys if key.key_id is None)


def parse_jwks(data: bytes | str, *, uses: frozenset[str] = frozenset({"", "sig"})) -> KeySet:
    """Read a JWK Set (RFC 7517 section 5); keys of other *uses* and what can't be used are skipped, and told.

    Raises ValueError when this is no JWK Set, or one with more than `MAX_KEYS` keys.
    """
    entries = parse_object(data).get("keys")
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"not a JWK Set with `keys`, a list of at most {MAX_KEYS}")
    keys: list[Key] = []
    skipped: list[str] = []
    for number, entry in enumerate(entries):
        try:
            keys.append(_usable(entry, uses))
        except UnusableKeyError as error:
            skipped.append(f"keys[{number}] {error}")
    return KeySet(tuple(keys), tuple(skipped))


def _usable(entry: object, uses: frozenset[str]) -> Key:
    if not isinstance(entry, dict):
        raise UnusableKeyError("is no object")
    key = parse_jwk(entry)
    if key.use not in uses:
        raise UnusableKeyError(f"its use is not {' or '.join(sorted(filter(None, uses)))}")
    return key


def parse_jwk(entry: Mapping[str, object]) -> Key:
    """Return the public key that *entry* describes; raises UnusableKeyError."""
    if not _PRIVATE.isdisjoint(entry):
        raise UnusableKeyError("holds a secret; publish public keys only, and replace this one")
    key_type, curve = _text(entry, "kty"), _text(entry, "crv", "")
    if key_type not in _REQUIRED:
        raise UnusableKeyError("has a `kty` that is not RSA, EC or OKP")
    algorithms = fitting(key_type, curve)
    if "alg" in entry:
        algorithms &= {_text(entry, "alg")}
    if not algorithms:
        raise UnusableKeyError("fits no algorithm that is supported")
    operations = entry.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise UnusableKeyError("has `key_ops` without verify")
    canonical = {name: _text(entry, name) for name in _REQUIRED[key_type]}
    digest = hashlib.sha256(json.dumps(canonical, separators=(",", ":")).encode()).digest()
    key_id = _text(entry, "kid") if "kid" in entry else None
    material = _material(entry, key_type, curve)
    return Key(key_id, algorithms, material, encode_base64url(digest), _text(entry, "use", ""))


def _material(entry: Mapping[str, object], key_type: str, curve: str) -> Any:
    try:
        if key_type == "RSA":
            return _rsa(_number(entry, "n"), _number(entry, "e"))
        if key_type == "EC":
            return _point(entry, _CURVES[curve])
        if curve == "Ed25519":
            return Ed25519PublicKey.from_public_bytes(_octets(entry, "x"))
        return Ed448PublicKey.from_public_bytes(_octets(entry, "x"))
    except UnusableKeyError:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise UnusableKeyError("is not a valid public key") from None


def _point(entry: Mapping[str, object], curve: EllipticCurve) -> Any:
    x, y = _octets(entry, "x"), _octets(entry, "y")
    if len(x) != len(y) or len(x) != (curve.key_size + 7) // 8:
        raise UnusableKeyError("has a coordinate of the wrong length")
    numbers = EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve)
    return numbers.public_key()


def _rsa(modulus: int, exponent: int) -> Any:
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS:
        raise UnusableKeyError(f"is an RSA key of less than {MIN_RSA_BITS} or more than {MAX_RSA_BITS} bits")
    if exponent < _MIN_EXPONENT or exponent % 2 == 0 or exponent.bit_length() > _MAX_EXPONENT_BITS:
        raise UnusableKeyError("is an RSA key with a weak exponent")
    return RSAPublicNumbers(exponent, modulus).public_key()


def _text(entry: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = entry.get(name, default)
    if not isinstance(value, str):
        raise UnusableKeyError(f"has no text in `{name}`")
    return value


def _octets(entry: Mapping[str, object], name: str) -> bytes:
    try:
        return decode_base64url(_text(entry, name))
    except UnusableKeyError:
        raise
    except ValueError:
        raise UnusableKeyError(f"has no base64url in `{name}`") from None


def _number(entry: Mapping[str, object], name: str) -> int:
    return int.from_bytes(_octets(entry, name), "big")
