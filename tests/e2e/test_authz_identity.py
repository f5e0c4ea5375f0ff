"""Who calls, through a real Envoy with mTLS: workloads by certificate, users by token, programs by key."""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from envoy_authz.authenticators.api_keys import hash_api_key
from envoy_authz.tokens.keys import parse_jwk
from envoy_authz.tokens.strict import encode_base64url
from envoy_demo import configs
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz
from envoy_demo.upstream import Upstream
from tests.authz.tokens.certificates import certificate, write
from tests.authz.tokens.minting import OTHER_RSA_KEY, RSA_KEY, claims, jwks, public_jwk, segment, sign, token
from tests.e2e.edges import AT_ONCE, AUTHZ, edge
from tests.e2e.https_issuer import HttpsIssuer, client_tls

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
ISSUER = "https://login.example"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
SENDER = ec.generate_private_key(ec.SECP256R1())
API_KEY = "k" * 43
POLICIES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: workloads}
spec:
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {paths: [/workload]}}]
  - from: [{source: {requestPrincipals: ["https://login.example/alice", "api-key/billing"]}}]
    to: [{operation: {paths: [/user]}}]
  - from: [{source: {requestPrincipals: ["spiffe://cluster.local/spiffe://cluster.local/ns/shop/sa/job"]}}]
    to: [{operation: {paths: [/svid]}}]
  - from: [{source: {requestPrincipals: ["https://opaque.example/olaf"]}}]
    to: [{operation: {paths: [/opaque]}}]
  allowMutations:
    setHeaders: [{name: x-workload, from: source.principal}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login}
spec:
  jwtRules:
  - issuer: https://login.example
    jwksUri: URL/jwks
    outputClaimToHeaders: [{header: x-user, claim: sub}, {header: x-role, claim: role}]
"""
IDENTITY = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: Identity
spec:
  peers:
    proof: certificate
    trustDomainAliases: {old.local: cluster.local}
    forwardedBy: [spiffe://cluster.local/ns/edge/sa/proxy]
    trustedHops: 2
  jwtSvid: {header: x-svid, audiences: [shop], bundles: {cluster.local: bundle.json}}
  apiKeys: {keys: [{name: billing, sha256: DIGEST}]}
  introspection:
    {uri: URL/introspect, clientId: authz, clientSecretFile: secret, issuer: "https://opaque.example",
     header: x-opaque, wait: 900ms}
"""
CLIENTS: dict[str, list[x509.GeneralName]] = {
    "web": [x509.UniformResourceIdentifier(WEB)],
    "old": [x509.UniformResourceIdentifier("spiffe://old.local/ns/shop/sa/web")],
    "other": [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/other")],
    "proxy": [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/edge/sa/proxy")],
    "two": [x509.UniformResourceIdentifier(WEB), x509.UniformResourceIdentifier(WEB + "2")],
    "dns": [x509.DNSName("web.example")],
}


@dataclass
class Mesh:
    """An Envoy with mTLS, its authz, and clients by name."""

    folder: Path
    envoy: Envoy
    authz: Service
    issuer: HttpsIssuer
    made: dict[str, x509.Certificate] = field(default_factory=dict)

    def send(self, client: str, path: str, *lines: tuple[str, str], **headers: str) -> tuple[int, Any]:
        files = self.folder / f"{client}.pem", self.folder / f"{client}.key"
        context = client_tls(self.folder / "authority.pem", files)
        connection = HTTPSConnection(LOOPBACK, self.envoy.port, timeout=20, context=context)
        try:
            connection.putrequest("GET", path, skip_host=True)
            connection.putheader("host", "shop.example")
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            for name, value in lines:
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        return answer.status, json.loads(text) if answer.status == 200 else dict(answer.getheaders())

    def status(self, client: str, path: str, *lines: tuple[str, str], **headers: str) -> int:
        return self.send(client, path, *lines, **headers)[0]

    def until(self, wanted: int, **headers: str) -> None:
        """Return once /user answers *wanted*."""
        self.authz.process.until(
            lambda: True if self.status("web", "/user", **headers) == wanted else None, f"a {wanted}"
        )


@pytest.fixture(scope="module")
def mesh(
    of_module: Processes, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mesh]:
    folder = tmp_path_factory.mktemp("mesh")
    issuer = HttpsIssuer(folder)  # down at first
    authority, key = certificate(ca=True, common_name="authority")
    write(folder, "authority", authority, key)
    made: dict[str, x509.Certificate] = {}
    own: list[x509.GeneralName] = [x509.UniformResourceIdentifier("spiffe://cluster.local/ns/shop/sa/edge")]
    for name, names in {**CLIENTS, "envoy": own}.items():
        made[name], private = certificate(*names, issuer=(authority, key), common_name=name)
        write(folder, name, made[name], private)
    bundle = jwks(public_jwk(RSA_KEY, kid="rsa", use="jwt-svid"))
    (folder / "bundle.json").write_text(bundle)
    (folder / "secret").write_text("s3cret")
    (folder / "policies.yaml").write_text(POLICIES.replace("URL", issuer.url))
    identity = folder / "identity.yaml"
    identity.write_text(IDENTITY.replace("URL", issuer.url).replace("DIGEST", hash_api_key(API_KEY)))
    os.environ["SSL_CERT_FILE"] = str(issuer.authority)
    try:
        options = ["--identity", str(identity), "--keys-cool-down", "0.1", "--decision-log", "off", *AT_ONCE]
        authz = start_authz(of_module, folder / "policies.yaml", options)
    finally:
        del os.environ["SSL_CERT_FILE"]
    authz.wait_ready()

    def with_mtls(config: Config) -> None:
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TLS,
                "require_client_certificate": True,
                "common_tls_context": {
                    "tls_certificates": [
                        {
                            "certificate_chain": {"filename": str(folder / "envoy.pem")},
                            "private_key": {"filename": str(folder / "envoy.key")},
                        }
                    ],
                    "validation_context": {"trusted_ca": {"filename": str(folder / "authority.pem")}},
                },
            },
        }
        manager = chain["filters"][0]["typed_config"]
        manager["forward_client_cert_details"] = "APPEND_FORWARD"
        manager["set_current_client_cert_details"] = {"uri": True}
        configs.http_filter(config, configs.EXT_AUTHZ)["include_peer_certificate"] = True

    envoy = edge(of_module, upstream, AUTHZ, [authz], configs.be_patient, with_mtls)
    yield Mesh(folder, envoy, authz, issuer, made)
    issuer.stop()


def bearer(key: Any = RSA_KEY, kid: str = "one", **changes: object) -> str:
    now_s = int(time.time())
    payload = claims(iss=ISSUER, iat=now_s, exp=now_s + 600, **changes)
    return token(payload, key=key, kid=kid)


def test_a_token_follows_its_issuer_through_a_start_without_it_a_rotation_and_an_outage(mesh: Mesh) -> None:
    old, new = f"Bearer {bearer()}", f"Bearer {bearer(OTHER_RSA_KEY, 'two')}"
    status, headers = mesh.send("web", "/user", authorization=old)
    assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="envoy-authz"')
    assert mesh.status("web", "/workload") == 200
    mesh.issuer.keys = jwks(public_jwk(RSA_KEY, kid="one"))
    mesh.issuer.start()
    mesh.until(200, authorization=old)
    # Before the rotation: after it the service may already have fetched again by itself.
    assert mesh.status("web", "/user", authorization=new) == 401
    mesh.issuer.keys = jwks(public_jwk(OTHER_RSA_KEY, kid="two"))
    mesh.until(200, authorization=new)
    status, headers = mesh.send("web", "/user", authorization=old)
    assert (status, "invalid_token" in headers["www-authenticate"]) == (401, True)
    mesh.issuer.stop()
    assert mesh.status("web", "/user", authorization=f"Bearer {bearer(OTHER_RSA_KEY, 'two', n=1)}") == 200
    mesh.issuer.start()


@pytest.mark.parametrize(
    ("client", "status"), [("web", 200), ("old", 200), ("other", 403), ("dns", 401), ("two", 401)]
)
def test_a_workload_is_known_by_its_whole_certificate(mesh: Mesh, client: str, status: int) -> None:
    assert mesh.status(client, "/workload") == status


def test_the_upstream_is_told_who_calls_whatever_the_client_says(mesh: Mesh) -> None:
    _status, echo = mesh.send("old", "/workload", x_workload="root", x_user="root")
    assert echo["headers"]["x-workload"] == WEB
    assert not {"x-user", "x-role"} & set(echo["headers"])


@pytest.mark.parametrize(
    ("client", "forwarded", "status"),
    [
        ("proxy", f"URI={WEB}", 200),
        ("proxy", f'Hash=x;Subject="CN=a,b";URI={WEB}', 200),
        # What a client wrote stands before what its proxy adds.
        ("proxy", f"URI={WEB},URI=spiffe://cluster.local/ns/shop/sa/other", 403),
        ("proxy", f"URI=spiffe://cluster.local/ns/shop/sa/other,URI={WEB}", 200),
        ("proxy", f"URI={WEB};URI=spiffe://x/y", 401),
        ("proxy", f'By="URI={WEB}', 401),
        # Without an element of the client's there are too few.
        ("proxy", "", 401),
        # Nobody but the proxy is believed.
        ("other", f"URI={WEB}", 403),
        ("other", f"URI={WEB},URI={WEB}", 403),
        ("dns", f"URI={WEB}", 401),
    ],
)
def test_a_forwarded_certificate_counts_by_hops_from_a_trusted_proxy_alone(
    mesh: Mesh, client: str, forwarded: str, status: int
) -> None:
    headers = {"x_forwarded_client_cert": forwarded} if forwarded else {}
    assert mesh.status(client, "/workload", **headers) == status


def test_a_repeated_forwarded_certificate_is_one_list(mesh: Mesh) -> None:
    other = ("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/shop/sa/other")
    web = ("x-forwarded-client-cert", f"URI={WEB}")
    assert mesh.status("proxy", "/workload", web, other) == 403


def current(mesh: Mesh, **changes: object) -> str:
    """Return a token by the keys that the issuer has now."""
    mesh.issuer.keys = jwks(public_jwk(OTHER_RSA_KEY, kid="two"))
    mesh.issuer.stop()
    mesh.issuer.start()
    mesh.until(200, authorization=f"Bearer {bearer(OTHER_RSA_KEY, 'two')}")
    return bearer(OTHER_RSA_KEY, "two", **changes)


def test_a_token_bound_to_a_certificate_is_worth_nothing_to_others(mesh: Mesh) -> None:
    digest = hashlib.sha256(mesh.made["web"].public_bytes(Encoding.DER)).digest()
    bound = current(mesh, cnf={"x5t#S256": encode_base64url(digest)})
    assert mesh.status("web", "/user", authorization=f"Bearer {bound}") == 200
    assert mesh.status("other", "/user", authorization=f"Bearer {bound}") == 401


def proof(access: str, **changes: object) -> str:
    payload: Mapping[str, object] = {
        "jti": os.urandom(8).hex(),
        "htm": "GET",
        "htu": "https://shop.example/user",
        "iat": int(time.time()),
        "ath": encode_base64url(hashlib.sha256(access.encode()).digest()),
        **changes,
    }
    head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": public_jwk(SENDER)}
    signed = f"{segment(head)}.{segment(payload)}"
    return f"{signed}.{sign(signed, 'ES256', SENDER)}"


def test_a_token_with_a_proof_of_possession_is_good_for_one_request(mesh: Mesh) -> None:
    bound = current(mesh, cnf={"jkt": parse_jwk(public_jwk(SENDER)).thumbprint})
    once = proof(bound)
    assert mesh.status("web", "/user?x=1", authorization=f"DPoP {bound}", dpop=once) == 200
    assert mesh.status("web", "/user?x=1", authorization=f"DPoP {bound}", dpop=once) == 401
    assert mesh.status("web", "/user", authorization=f"DPoP {bound}", dpop=proof(bound)) == 200
    assert mesh.status("web", "/user", authorization=f"Bearer {bound}", dpop=proof(bound)) == 401
    assert mesh.status("web", "/user", authorization=f"DPoP {bound}", dpop=proof(bound, htm="PUT")) == 401
    assert mesh.status("web", "/user", authorization=f"DPoP {bound}") == 401


def test_programs_are_known_by_key_by_svid_and_by_what_an_issuer_says(mesh: Mesh) -> None:
    status, echo = mesh.send("other", "/user", x_api_key=API_KEY)
    assert (status, "x-api-key" in echo["headers"]) == (200, False)
    assert mesh.status("other", "/user", x_api_key=API_KEY[:-1] + "x") == 401
    now_s = int(time.time())
    svid = {"sub": "spiffe://cluster.local/ns/shop/sa/job", "aud": "shop", "exp": now_s + 60}
    assert mesh.status("other", "/svid", x_svid=token(svid)) == 200
    assert mesh.status("other", "/svid", x_svid=token({**svid, "aud": "bank"})) == 401
    mesh.issuer.stop()
    mesh.issuer.opaque["abc"] = {"active": True, "sub": "olaf", "exp": now_s + 60}
    mesh.issuer.start()
    assert mesh.status("other", "/opaque", x_opaque="abc") == 200
    assert mesh.status("other", "/opaque", x_opaque="nope") == 401
