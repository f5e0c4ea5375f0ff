"""`envoy-authz token`: tokens and keys for development and tests, by an issuer that is a file on this machine."""

import json
import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cyclopts import Parameter, validators
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from envoy_authz.commands.output import Format, print_json, say
from envoy_authz.tokens.keys import parse_jwk
from envoy_sidecar.settings import SettingsError

AlgorithmName = Literal["ES256", "RS256", "EdDSA"]
_PRIVATE = 0o600
_PUBLIC = 0o644
_RSA_BITS = 2048
_RSA_EXPONENT = 65537
_YEAR_S = 366 * 24 * 3600


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class TokenOptions:
    """The key and the claims of a token."""

    key: Annotated[
        Path,
        Parameter(help="Private key (PEM), made with mode 0600 if it is not there; never for production."),
    ]
    jwks: Annotated[
        Path | None, Parameter(help="JWK Set to which the public key is added: jwksUri: file:///… names it.")
    ] = None
    algorithm: Annotated[AlgorithmName | None, Parameter(help="Of a new key: ES256 if nothing is said.")] = (
        None
    )
    issuer: Annotated[str, Parameter(help="iss")] = "https://dev.example"
    subject: Annotated[str, Parameter(help="sub")] = "developer"
    audience: Annotated[tuple[str, ...], Parameter(help="aud; may be repeated.", negative=())] = ()
    claim: Annotated[
        tuple[str, ...], Parameter(help="name=value, as JSON where it is JSON; may be repeated.", negative=())
    ] = field(default=())
    expires_in: Annotated[
        int,
        Parameter(
            validator=validators.Number(gte=-_YEAR_S, lte=_YEAR_S),
            help="Seconds until exp; below 0, a token that has expired.",
        ),
    ] = 3600

    def claims(self, now_s: float) -> dict[str, object]:
        """Return the payload. Raises SettingsError."""
        now = int(now_s)
        made: dict[str, object] = {"iss": self.issuer, "sub": self.subject}
        if self.audience:
            made["aud"] = self.audience[0] if len(self.audience) == 1 else list(self.audience)
        made.update(iat=min(now, now + self.expires_in), exp=now + self.expires_in)
        for text in self.claim:
            name, parted, value = text.partition("=")
            if not parted or not name:
                raise SettingsError(f"--claim {text!r}: write it like name=value")
            made[name] = _value(value)
        return made


def token(options: TokenOptions, form: Format) -> int:
    """Print a token, signed by the key in a file, which is made if it is not there. Raises SettingsError."""
    made = not options.key.exists()
    key = _new_key(options) if made else _read_key(options.key)
    algorithm = _algorithm(key)
    if options.algorithm not in {None, algorithm}:
        raise SettingsError(f"--algorithm {options.algorithm}: the key in {options.key} is for {algorithm}")
    entry = _public(key, algorithm)
    if options.jwks is not None:
        _add(options.jwks, entry)
    claims = options.claims(time.time())
    text = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": entry["kid"]})
    say(f"for development: who can read {options.key}{' (new)' if made else ''} signs as {options.issuer}")
    if form == "json":
        print_json({"token": text, "claims": claims, "jwks": {"keys": [entry]}, "key": str(options.key)})
    else:
        print(text)  # noqa: T201 - for a shell to take
    return 0


def _value(text: str) -> object:
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value


def _new_key(options: TokenOptions) -> Any:
    key: Any
    if options.algorithm == "RS256":
        key = rsa.generate_private_key(_RSA_EXPONENT, _RSA_BITS)
    elif options.algorithm == "EdDSA":
        key = ed25519.Ed25519PrivateKey.generate()
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        # Never through a link, nor readable by others for a moment.
        descriptor = os.open(options.key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except OSError as error:
        raise SettingsError(f"--key {options.key}: {error.strerror or error}") from None
    return key


def _read_key(path: Path) -> Any:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise SettingsError(f"--key {path}: others can read it; chmod 600 {path}, or make a new one")
        return load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise SettingsError(f"--key {path}: {error.strerror or error}") from None
    except (ValueError, TypeError):
        raise SettingsError(f"--key {path}: this is no private key in PEM without a password") from None


def _algorithm(key: Any) -> AlgorithmName:
    if isinstance(key, rsa.RSAPrivateKey):
        return "RS256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    raise SettingsError("--key: only keys of RSA, P-256 and Ed25519 are for this")


def _public(key: Any, algorithm: AlgorithmName) -> dict[str, Any]:
    writers: Mapping[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    entry: dict[str, Any] = writers[algorithm].to_jwk(key.public_key(), as_dict=True)
    entry.pop("key_ops", None)
    entry.update(use="sig", alg=algorithm)
    return {**entry, "kid": parse_jwk(entry).thumbprint}


def _add(path: Path, entry: Mapping[str, Any]) -> None:
    """Add *entry* to the JWK Set in a file, which it stands in once. Raises SettingsError."""
    try:
        known: Sequence[Mapping[str, Any]] = json.loads(path.read_bytes())["keys"] if path.exists() else ()
        kept = [one for one in known if one.get("kid") != entry["kid"]]
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(json.dumps({"keys": [*kept, entry]}, indent=2) + "\n", "utf-8")
        beside.chmod(_PUBLIC)
        beside.replace(path)
    except OSError as error:
        raise SettingsError(f"--jwks {path}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"--jwks {path}: this is no JWK Set; name another file") from None
