"""What attackers try, byte by byte through a real Envoy: none of it reaches the upstream, or none of it means anything.

Each is tried on the shipped configuration, and on one that normalizes nothing (`bare`), where the guard stands alone.
"""

import hmac
import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.configs import Config
from envoy_demo.envoy import Envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_authz
from envoy_demo.upstream import Upstream
from tests.authz.tokens.minting import (
    EC_KEYS,
    JWKS,
    OTHER_RSA_KEY,
    RSA_KEY,
    claims,
    public_jwk,
    segment,
    sign,
    token,
)
from tests.e2e.edges import AT_ONCE, AUTHZ, SERVED, authz_lets_pass_without_answer, edge

ISSUER = "https://login.example"
POLICIES = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: open}
spec:
  rules:
  - to: [{operation: {paths: ["/*"], notPaths: [/user, /role]}}]
  - from: [{source: {requestPrincipals: ["*"]}}]
    to: [{operation: {paths: [/user]}}]
  - to: [{operation: {paths: [/role]}}]
    when: [{key: "request.headers[x-role]", values: [user]}]
  allowMutations:
    setHeaders: [{name: x-team, from: "request.auth.claims[team]"}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec:
  action: DENY
  rules:
  - to:
    - operation: {paths: [/admin, "/admin/*"]}
    - operation: {hosts: [admin.example]}
  - when: [{key: "request.headers[x-blocked]", values: ["yes"]}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: login}
spec:
  jwtRules: [{issuer: "https://login.example", jwks: 'JWKS',
              outputClaimToHeaders: [{header: x-user, claim: sub}], outputPayloadToHeader: x-payload}]
"""


@dataclass
class Edges:
    """One authz behind several Envoys by name."""

    authz: Service
    envoys: dict[str, Envoy]

    def raw(self, data: str | bytes, edge_name: str = "shipped") -> tuple[int, Any]:
        """Send *data* as it is; return the status, 0 if there is no answer, and the body, parsed if it can be."""
        payload = data if isinstance(data, bytes) else data.encode("latin-1")
        with socket.create_connection((LOOPBACK, self.envoys[edge_name].port), timeout=10) as connection:
            connection.sendall(payload)
            answer = HTTPResponse(connection)
            try:
                answer.begin()
            except (OSError, ValueError):
                return 0, None
            text = answer.read()
        return answer.status, json.loads(text) if answer.status == 200 else text

    def until(self, edge_name: str, wanted: int) -> None:
        """Return once a plain request is answered by *wanted*."""
        envoy = self.envoys[edge_name]
        envoy.process.until(lambda: True if get(envoy.port, "/x").status == wanted else None, f"a {wanted}")


def bare(config: Config) -> None:
    """Normalize nothing, and let through all that Envoy lets through."""
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager |= {
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
    }
    manager["common_http_protocol_options"]["headers_with_underscores_action"] = "ALLOW"


def stripped(config: Config) -> None:
    """Fail open, and remove identity headers before authz is asked, as docs/authz-deployment.md says."""
    authz_lets_pass_without_answer(config)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    removals = [{"remove": name} for name in ("x-user", "x-payload", "x-team")]
    mutation = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        "mutations": {"request_mutations": removals},
    }
    manager["http_filters"].insert(
        0, {"name": "envoy.filters.http.header_mutation", "typed_config": mutation}
    )


@pytest.fixture(scope="module")
def edges(of_module: Processes, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Edges:
    policies: Path = tmp_path_factory.mktemp("attacked") / "policies.yaml"
    policies.write_text(POLICIES.replace("JWKS", JWKS), "utf-8")
    authz = start_authz(of_module, policies, ["--decision-log", "off", *AT_ONCE])
    authz.wait_ready()
    changes = {"shipped": [], "bare": [bare], "open": [stripped]}
    return Edges(
        authz,
        {
            name: edge(of_module, upstream, AUTHZ, [authz], configs.be_patient, *some)
            for name, some in changes.items()
        },
    )


both = pytest.mark.parametrize("edge_name", ["shipped", "bare"])


def request(
    path: str = "/x", *lines: str, host: str = "shop.example", method: str = "GET", version: str = "1.1"
) -> str:
    head = [f"{method} {path} HTTP/{version}", f"host: {host}", *lines, "connection: close", "", ""]
    return "\r\n".join(head)


PATHS = [
    *(
        "/admin",
        "/admin/x",
        "/admin?x=/public",
        "/admin#/public",
        "//admin",
        "//admin/x",
        "///admin",
        "/./admin",
    ),
    *("/public/../admin", "/public/%2e%2e/admin", "/public/%2E%2e/admin/x", "/%61dmin", "/%61%64min/x"),
    *("/public/..%2fadmin", "/public%2f..%2fadmin", "/%2fadmin", "/public/..%5cadmin", "/public\\..\\admin"),
    *(
        "/admin;v=1",
        "/admin;x/y",
        "/public/..;/admin",
        "/;/admin",
        "/admin%3bv=1",
        "/admin%23x",
        "/admin%3fx",
    ),
    *("/%2561dmin", "/public/%252e%252e/admin", "/public/.%2e/admin", "/admin/%2e", "/public#/../admin"),
    *("/admin%00", "/admin%00.png", "/admin\t", "/adm%09in", "/admin%0a", "http://shop.example/admin"),
    *("http://shop.example//admin", "/x/%2e%2e%2f%2e%2e%2fadmin", "/.//admin"),
]


@both
@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_reaches_what_is_denied(edges: Edges, edge_name: str, path: str) -> None:
    before = edges.envoys[edge_name].stat(SERVED)
    status, _ = edges.raw(request(path), edge_name)
    # A redirect (escaped slashes) leads the client to a spelling that is denied.
    assert status in {307, 400, 403}
    assert edges.envoys[edge_name].stat(SERVED) == before


HOSTS = [
    *("admin.example", "ADMIN.example", "Admin.Example", "admin.example:80", "admin.example:10000"),
    *("admin.example.", "admin.example.:443", "x@admin.example", "ADMIN.EXAMPLE.:8443"),
]


@both
@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_a_host_reaches_what_is_denied(edges: Edges, edge_name: str, host: str) -> None:
    before = edges.envoys[edge_name].stat(SERVED)
    assert edges.raw(request(host=host), edge_name)[0] in {400, 403}
    assert edges.raw(request("//x", host=host), edge_name)[0] in {400, 403}
    assert edges.raw(request(f"http://{host}/x", host="shop.example"), edge_name)[0] in {400, 403}
    assert edges.envoys[edge_name].stat(SERVED) == before


@both
@pytest.mark.parametrize(
    "lines",
    [
        ("x-user: root",),
        ("X-User: root",),
        ("x-user: root", "X-USER: root"),
        ("x-user:root", "x-payload: e30", "x-team: a"),
        ("x-user: root", "connection: x-user"),
        ("x-user: ", "x-user: root"),
        ("x-user : root",),
        ("x-team: a\r\n b",),
    ],
)
def test_a_clients_own_identity_headers_never_reach_the_upstream(
    edges: Edges, edge_name: str, lines: tuple[str, ...]
) -> None:
    names = {"x-user", "x-payload", "x-team"}
    status, echo = edges.raw(request("/x", *lines), edge_name)
    assert status == 400 or not names & set(echo["headers"])
    signed = f"authorization: Bearer {good(team='blue')}"
    status, echo = edges.raw(request("/user", signed, *lines), edge_name)
    if status != 400:
        assert (echo["headers"]["x-user"], echo["headers"]["x-team"]) == ("alice", "blue")
        assert "authorization" not in echo["headers"]


def test_a_header_with_an_underscore_is_refused_by_the_shipped_configuration(edges: Edges) -> None:
    assert edges.raw(request("/x", "x_user: root"))[0] == 400


@both
@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("x-role: user",), 200),
        (("x-role: user", "x-role: admin"), 403),
        (("x-role: admin", "x-role: user"), 403),
        (("x-role: user,admin",), 403),
        (("x-role: user", "x-role: user"), 200),
        (("x-role: user\x80",), 403),
        (("x-role: USER",), 403),
        ((), 403),
    ],
)
def test_each_line_of_a_repeated_header_counts(
    edges: Edges, edge_name: str, lines: tuple[str, ...], status: int
) -> None:
    assert edges.raw(request("/role", *lines), edge_name)[0] == status


@both
def test_a_denied_value_hides_behind_no_other(edges: Edges, edge_name: str) -> None:
    for lines in (("x-blocked: no", "x-blocked: yes"), ("x-blocked: yes , no",), ("X-BLOCKED: yes",)):
        assert edges.raw(request("/x", *lines), edge_name)[0] == 403
    assert edges.raw(request("/x", "x-blocked: no"), edge_name)[0] == 200


def payload(**changes: object) -> dict[str, object]:
    now_s = int(time.time())
    return claims(**{"iss": ISSUER, "iat": now_s, "exp": now_s + 600, **changes})


def good(**changes: object) -> str:
    return token(payload(**changes))


def with_header(**header: object) -> str:
    return token(payload(), header=header)


def unsigned(algorithm: str) -> str:
    return f"{segment({'alg': algorithm, 'kid': 'rsa'})}.{segment(payload())}."


def signed_by_the_public_key() -> str:
    secret = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head = f"{segment({'alg': 'HS256', 'kid': 'rsa', 'typ': 'JWT'})}.{segment(payload())}"
    digest = hmac.new(secret, head.encode(), "sha256").digest()
    return f"{head}.{segment(digest)}"


def twice(text: bytes) -> str:
    head = f"{segment({'alg': 'RS256', 'kid': 'rsa'})}.{segment(text)}"
    return f"{head}.{sign(head, 'RS256', RSA_KEY)}"


TOKENS: Mapping[str, Callable[[], str]] = {
    "none": lambda: unsigned("none"),
    "None": lambda: unsigned("None"),
    "no algorithm": lambda: token(payload(), header=b'{"kid":"rsa"}'),
    "the public key as secret": signed_by_the_public_key,
    "another RSA scheme": lambda: token(payload(), header={"alg": "PS256"}),
    "another curve's name": lambda: token(payload(), kid="ES256", key=EC_KEYS["ES256"], header={"alg": "ES384"}, algorithm="ES256"),
    "a zero signature": lambda: good().rpartition(".")[0] + "." + segment(bytes(256)),
    "no signature": lambda: good().rpartition(".")[0] + ".",
    "a kid that is a path": lambda: with_header(kid="../../../../dev/null"),
    "a kid that is SQL": lambda: with_header(kid="x' UNION SELECT 'secret"),
    "a kid that is no text": lambda: with_header(kid=["rsa"]),
    "a kid of another key": lambda: with_header(kid="ES256"),
    "its own key": lambda: token(payload(), key=OTHER_RSA_KEY, header={"jwk": public_jwk(OTHER_RSA_KEY)}),
    "its own address": lambda: token(payload(), key=OTHER_RSA_KEY, header={"jku": "https://evil.example"}),
    "crit": lambda: with_header(crit=["exp"], exp=1),
    "b64": lambda: with_header(b64=False),
    "padding": lambda: good() + "=",
    "a loose tail": lambda: good()[:-1] + ("B" if good()[-1] != "B" else "C"),
    "a line break": lambda: good().replace(".", ".%0a", 1),
    "a plus": lambda: good().replace("-", "+").replace("_", "/") + "+",
    "a part more": lambda: good() + ".x",
    "members twice": lambda: twice(json.dumps(payload()).encode()[:-1] + b',"sub":"root"}'),
    "NaN": lambda: twice(json.dumps(payload()).encode()[:-1] + b',"nbf":NaN}'),
    "a time that is text": lambda: good(exp="4000000000"),
    "a time out of range": lambda: twice(json.dumps(payload()).encode()[:-1] + b',"nbf":-1e999}'),
    "expired": lambda: good(exp=int(time.time()) - 61),
    "not yet": lambda: good(nbf=int(time.time()) + 600),
    "another issuer": lambda: good(iss="https://evil.example"),
    "an issuer with a slash": lambda: good(iss=ISSUER + "/"),
    "deep": lambda: twice(json.dumps(payload()).encode()[:-1] + b',"x":' + b"[" * 99 + b"]" * 99 + b"}"),
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENS)
def test_a_forged_token_is_refused_wherever_it_stands(edges: Edges, name: str) -> None:
    text = TOKENS[name]()
    before = edges.envoys["bare"].stat(SERVED)
    for path, lines in (
        ("/user", (f"authorization: Bearer {text}",)),
        (f"/user?access_token={text}", ()),
        # A good one beside it changes nothing.
        (f"/user?access_token={text}", (f"authorization: Bearer {good()}",)),
    ):
        assert edges.raw(request(path, *lines), "bare")[0] == 401
    assert edges.envoys["bare"].stat(SERVED) == before


def test_a_good_token_passes_where_those_do_not(edges: Edges) -> None:
    for path, line in (
        ("/user", f"authorization: bEaReR {good()}"),
        (f"/user?access_token={good()}", "a: b"),
    ):
        status, echo = edges.raw(request(path, line), "bare")
        assert (status, echo["headers"]["x-user"], echo["path"]) == (200, "alice", "/user")


def test_two_requests_in_one_are_two_decisions(edges: Edges) -> None:
    smuggled = "GET /admin HTTP/1.1\r\nhost: shop.example\r\n\r\n"
    before = edges.envoys["bare"].stat(SERVED)
    for lines in (
        (f"content-length: {len(smuggled)}", "transfer-encoding: chunked"),
        ("content-length: 0", f"content-length: {len(smuggled)}"),
        ("transfer-encoding: xchunked", f"content-length: {len(smuggled)}"),
    ):
        text = request("/x", *lines, method="POST").replace("connection: close\r\n", "")
        assert edges.raw(text + smuggled, "bare")[0] in {0, 400, 501}
    assert edges.envoys["bare"].stat(SERVED) == before


def test_fail_open_lets_pass_and_no_identity_with_it(edges: Edges) -> None:
    signed = f"authorization: Bearer {good()}"
    status, echo = edges.raw(request("/user", signed, "x-user: root"), "open")
    assert (status, echo["headers"]["x-user"]) == (200, "alice")
    assert edges.raw(request("/admin"), "open")[0] == 403
    edges.authz.process.kill()
    for name, wanted in (("shipped", 503), ("open", 200)):
        edges.until(name, wanted)
    status, echo = edges.raw(request("/admin", "x-user: root", "x-payload: e30"), "open")
    assert status == 200
    assert not {"x-user", "x-payload", "x-team"} & set(echo["headers"])
    assert edges.raw(request("/x"))[0] == 503
