"""The signature algorithms that are ever accepted, each with the one form of key that it takes (RFC 7518, RFC 8037).

There is no HMAC: a public key must never be able to serve as a secret. There is no `none`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurve
from jwt.algorithms import Algorithm as Signature
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

Verify = Callable[[bytes, Any, bytes], bool]
"""Whether (what was signed, public key, signature) belong together."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm: `key_type` and `curves` say which keys it takes (RFC 7517 `kty`, RFC 7518 `crv`)."""

    name: str
    key_type: str
    verify: Verify
    curves: frozenset[str] = frozenset()


def _table() -> dict[str, Algorithm]:
    curves: dict[str, tuple[str, type[EllipticCurve]]] = {
        "256": ("P-256", SECP256R1),
        "384": ("P-384", SECP384R1),
        "512": ("P-521", SECP521R1),
    }
    hashes = {size: getattr(RSAAlgorithm, f"SHA{size}") for size in curves}
    table: dict[str, Algorithm] = {}

    def add(name: str, key_type: str, signature: Signature, *names: str) -> None:
        table[name] = Algorithm(name, key_type, signature.verify, frozenset(names))

    for size, digest in hashes.items():
        curve, kind = curves[size]
        add(f"RS{size}", "RSA", RSAAlgorithm(digest))
        add(f"PS{size}", "RSA", RSAPSSAlgorithm(digest))
        add(f"ES{size}", "EC", ECAlgorithm(digest, kind), curve)
    add("EdDSA", "OKP", OKPAlgorithm(), "Ed25519", "Ed448")
    return table


ALGORITHMS: Mapping[str, Algorithm] = _table()
"""All algorithms by name: RS256 to RS512, PS256 to PS512, ES256 to ES512, and EdDSA."""

ALL = frozenset(ALGORITHMS)


def fitting(key_type: str, curve: str = "") -> frozenset[str]:
    """Return the names of the algorithms that take keys of *key_type* and, where it has any, of *curve*."""
    return frozenset(
        name
        for name, algorithm in ALGORITHMS.items()
        if algorithm.key_type == key_type and (not algorithm.curves or curve in algorithm.curves)
    )
