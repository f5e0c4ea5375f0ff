"""A token like those of a real issuer, and the policies with the key that verifies it."""

import json
import shutil
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from ruamel.yaml import YAML

from envoy_demo.configs import folder

_ISSUER = "https://login.example"
_LIFE_S = 86_400


def with_authentication(into: Path) -> tuple[Path, str]:
    """Return the folder *into* with the example's policies and a `RequestAuthentication`, and an RS256 token for it."""
    shutil.copytree(folder() / "examples" / "policies", into)
    key = rsa.generate_private_key(65537, 2048)
    public = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "bench", "use": "sig"}
    public.pop("key_ops", None)
    rule = {
        "issuer": _ISSUER,
        "audiences": ["shop"],
        "jwks": json.dumps({"keys": [public]}),
        "outputClaimToHeaders": [{"header": "x-user", "claim": "sub"}],
    }
    document = {
        "apiVersion": "security.istio.io/v1",
        "kind": "RequestAuthentication",
        "metadata": {"name": "bench", "namespace": "demo"},
        "spec": {"jwtRules": [rule]},
    }
    with (into / "authentication.yaml").open("w", encoding="utf-8") as file:
        YAML().dump(document, file)
    now_s = int(time.time())
    claims = {"iss": _ISSUER, "sub": "alice", "aud": "shop", "iat": now_s, "exp": now_s + _LIFE_S}
    return into, jwt.encode({**claims, "scope": "orders " * 40}, key, "RS256", {"kid": "bench"})
