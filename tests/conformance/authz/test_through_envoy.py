"""What our answers do in a real Envoy: custom denials, changes to the request, refused tokens, in both encodings."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from envoy_demo import configs
from envoy_demo.client import Request, get, send
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import start_authz
from envoy_demo.upstream import start_upstream
from tests.e2e.edges import AT_ONCE, AUTHZ, edge

POLICIES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: open}
spec:
  rules: [{to: [{operation: {notPaths: ["/role", "/body"]}}]}]
  allowMutations:
    setHeaders: [{name: x-static, value: "1"}, {name: x-user, from: "request.auth.claims[sub]"}]
    removeHeaders: [x-secret]
    setQuery: [{name: seen, value: "a b&c"}]
    removeQuery: [debug]
---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: role}
spec:
  rules:
    - to: [{operation: {paths: ["/role"]}}]
      when: [{key: "request.headers[x-role]", values: [user]}]
    - to: [{operation: {paths: ["/body"]}}]
      when: [{cel: "request.json.amount < 500"}]
---
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: closed}
spec:
  action: DENY
  rules: [{to: [{operation: {paths: ["/closed"], }}, {operation: {grpcMethods: [shop.Orders/Export]}}]}]
  denyResponse:
    status: 451
    headers: [{name: x-why, value: law}]
    problem: {title: Closed, detail: Not here}
    grpcStatus: FAILED_PRECONDITION
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: issuer}
spec:
  jwtRules: [{issuer: "https://issuer.example", jwks: 'JWKS'}]
"""
ISSUER = "https://issuer.example"
KEY = ec.generate_private_key(ec.SECP256R1())
JWK = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k", "alg": "ES256", "use": "sig"}


def bearer(subject: str) -> str:
    claims = {"iss": ISSUER, "sub": subject, "exp": int(time.time()) + 600}
    return f"Bearer {jwt.encode(claims, KEY, 'ES256', {'kid': 'k'})}"


def with_bodies(config: Config) -> None:
    configs.http_filter(config, configs.EXT_AUTHZ)["with_request_body"] = {
        "max_request_bytes": 64,
        "allow_partial_message": True,
    }


def raw_headers(config: Config) -> None:
    configs.http_filter(config, configs.EXT_AUTHZ)["encode_raw_headers"] = True


@pytest.fixture(scope="module", params=["headers", "header_map"])
def envoy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    folder: Path = tmp_path_factory.mktemp("envoy")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.yaml").write_text(
        POLICIES.replace("JWKS", json.dumps({"keys": [JWK]})), "utf-8"
    )
    with Processes(folder) as processes:
        upstream = start_upstream(processes)
        authz = start_authz(processes, folder / "policies", AT_ONCE)
        upstream.wait_ready()
        authz.wait_ready()
        encoded = [raw_headers] if request.param == "header_map" else []
        yield edge(processes, upstream, AUTHZ, [authz], configs.be_patient, with_bodies, *encoded)


def test_the_upstream_gets_the_changed_request(envoy: Envoy) -> None:
    sent = {"x-secret": "s", "x-user": "forged", "x-static": "forged"}
    answer = send(envoy.port, Request("GET", "/a?debug=1&keep=2", sent))
    assert answer.status == 200
    echo = answer.json()
    assert not {"x-secret", "x-user"} & set(echo["headers"])
    assert echo["headers"]["x-static"] == "1"
    assert echo["path"] == "/a?keep=2&seen=a%20b%26c"


def test_a_denial_answers_by_problem_details(envoy: Envoy) -> None:
    answer = get(envoy.port, "/closed")
    assert answer.status == 451
    assert (answer.headers["x-why"], answer.headers["content-type"]) == ("law", "application/problem+json")
    assert answer.json() == {"title": "Closed", "detail": "Not here", "status": 451}


def test_a_denied_grpc_call_gets_the_status_of_its_policy(envoy: Envoy) -> None:
    with grpc.insecure_channel(f"{LOOPBACK}:{envoy.port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/shop.Orders/Export")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=10)
    error = caught.value
    assert isinstance(error, grpc.Call)
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert error.details() == "Not here"


def test_a_body_decides_and_one_that_is_cut_does_not_pass(envoy: Envoy) -> None:
    def status(body: bytes) -> int:
        return send(envoy.port, Request("POST", "/body", {"content-type": "application/json"}, body)).status

    assert status(b'{"amount": 400}') == 200
    assert status(b'{"amount": 600}') == 403
    assert status(b'{"amount": 400}' + b" " * 100) == 403
    assert status(b"") == 403


def test_no_value_of_a_header_slips_through(envoy: Envoy) -> None:
    assert get(envoy.port, "/role", x_role="user").status == 200
    assert get(envoy.port, "/role", x_role="user,admin").status == 403
    assert get(envoy.port, "/role").status == 403


def test_a_token_that_is_not_verified_is_401(envoy: Envoy) -> None:
    answer = get(envoy.port, "/a", authorization="Bearer a.b.c")
    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert get(envoy.port, "/a").status == 200


def test_a_claim_of_a_verified_token_reaches_the_upstream(envoy: Envoy) -> None:
    answer = get(envoy.port, "/a", authorization=bearer("alice"), x_user="forged")
    assert (answer.status, answer.json()["headers"]["x-user"]) == (200, "alice")
    assert get(envoy.port, "/a", authorization=bearer("alice")[:-4]).status == 401
