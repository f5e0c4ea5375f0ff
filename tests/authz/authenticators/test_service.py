"""The whole service with an issuer over HTTPS: it starts without it, finds its keys, and follows their rotation."""

from dataclasses import replace
from pathlib import Path

import pytest

from envoy_authz.server import AuthzSidecar
from envoy_authz.tokens.schedule import Timing
from envoy_authz.tokens.sources import KeyRing
from envoy_sidecar.pb import authz_pb2
from envoy_sidecar.transport.port import Call
from tests.authz.tokens.issuer import Issuer
from tests.authz.tokens.minting import ISSUER, OTHER_RSA_KEY, RSA_KEY, claims, jwks, public_jwk, token

QUICK = Timing(retry_s=0.01, most_retry_s=0.02, cool_down_s=0.01)
OLD = jwks(public_jwk(RSA_KEY, kid="old"))
NEW = jwks(public_jwk(OTHER_RSA_KEY, kid="new"))
LASTING = claims(iat=1, exp=4_000_000_000)
OLD_TOKEN = token(LASTING, kid="old", key=RSA_KEY)
NEW_TOKEN = token(LASTING, kid="new", key=OTHER_RSA_KEY)
POLICIES = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: jwt}}
spec:
  jwtRules:
  - issuer: {issuer}
    jwksUri: {uri}
    outputClaimToHeaders: [{{header: x-user, claim: sub}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: users}}
spec:
  rules:
  - from:
    - source: {{requestPrincipals: ["{issuer}/alice"]}}
"""


def check(sidecar: AuthzSidecar, bearer: str | None) -> authz_pb2.CheckResponse:
    message = authz_pb2.CheckRequest()
    http = message.attributes.request.http
    http.method, http.path = "GET", "/x"
    http.headers["x-user"] = "root"
    if bearer is not None:
        http.headers["authorization"] = f"Bearer {bearer}"
    (service,) = sidecar.services
    (answer,) = service.unary["Check"]([Call(message.SerializeToString())])
    assert isinstance(answer, bytes)
    return authz_pb2.CheckResponse.FromString(answer)


def status(sidecar: AuthzSidecar, bearer: str | None) -> int:
    response = check(sidecar, bearer)
    return 200 if response.HasField("ok_response") else response.denied_response.status.code


async def test_it_follows_an_issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = Issuer(tmp_path)
    await issuer.start()
    await issuer.stop()  # its port is known now, and it is down
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "all.yaml").write_text(POLICIES.format(issuer=ISSUER, uri=f"{issuer.url}/jwks"))
    ring = KeyRing(QUICK, tls=issuer.client_tls)
    monkeypatch.setattr("envoy_authz.server.KeyRing", lambda _timing: ring)
    sidecar = AuthzSidecar([policies])
    (source,) = ring._sources.values()

    async def until(bearer: str, expected: int) -> None:
        while status(sidecar, bearer) != expected:
            await source.attempted(source.attempts + 1)

    await sidecar.start()
    assert status(sidecar, OLD_TOKEN) == 401
    assert status(sidecar, None) == 403
    issuer.publish(OLD)
    await issuer.start()
    await until(OLD_TOKEN, 200)
    headers = check(sidecar, OLD_TOKEN).ok_response
    assert [(one.header.key, one.header.value) for one in headers.headers] == [("x-user", "alice")]
    assert list(headers.headers_to_remove) == ["authorization"]
    issuer.publish(NEW)
    assert status(sidecar, NEW_TOKEN) == 401
    await until(NEW_TOKEN, 200)
    attempts = source.attempts
    assert status(sidecar, OLD_TOKEN) == 401
    await source.attempted(attempts + 1)
    sidecar.reload()
    assert status(sidecar, NEW_TOKEN) == 200  # a reload keeps the keys
    await sidecar.stop()
    await issuer.stop()


async def test_a_private_authority_is_trusted_by_the_usual_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer(tmp_path)
    await issuer.start()
    issuer.publish(OLD)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    policies = tmp_path / "policies.yaml"
    policies.write_text(POLICIES.format(issuer=ISSUER, uri=f"{issuer.url}/jwks"))
    monkeypatch.setattr("envoy_authz.server.KeyRing", lambda _timing: KeyRing(replace(QUICK, retry_s=60)))
    sidecar = AuthzSidecar([policies])
    await sidecar.start()
    assert status(sidecar, OLD_TOKEN) == 200
    await sidecar.stop()
    await issuer.stop()
