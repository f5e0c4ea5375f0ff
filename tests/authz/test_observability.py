"""The dashboard and the alert rules that are shipped: each metric and label in them is one that the service has."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest

from envoy_authz.wire_json import METHOD, SERVICE
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.services import start_authz
from envoy_sidecar.pb import authz_pb2
from tests.authz.test_traps import message
from tests.authz.tokens.minting import JWKS
from tests.observability import Samples, bare, expressions_of, hold, hold_form, samples_of

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open}
spec: {rules: [{to: [{operation: {paths: ["/*"]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: closed}
spec: {action: DENY, rules: [{to: [{operation: {paths: ["/closed"]}}]}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: seen}
spec: {action: AUDIT, rules: [{to: [{operation: {paths: ["/*"]}}]}]}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: issuers}
spec:
  jwtRules:
  - {issuer: "https://inline.example", jwks: 'JWKS'}
  - {issuer: "https://here.example", jwksUri: "http://127.0.0.1:HERE/jwks"}
  - {issuer: "https://away.example", jwksUri: "https://127.0.0.1:AWAY/jwks"}
"""


class _Keys(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(JWKS.encode())

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer((LOOPBACK, 0), _Keys) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory, issuer: ThreadingHTTPServer) -> Samples:
    """What a service says that allowed, denied, refused, audited, and can't reach an issuer."""
    folder = tmp_path_factory.mktemp("scrape")
    (folder / "policies").mkdir()
    text = POLICIES.replace("JWKS", JWKS).replace("AWAY", str(free_port()))
    text = text.replace("HERE", str(issuer.server_port))
    (folder / "policies" / "all.yaml").write_text(text, "utf-8")
    with Processes(folder) as processes:
        service = start_authz(processes, folder / "policies", ["--decision-log", str(folder / "d.log")])
        service.wait_ready()
        with grpc.insecure_channel(f"{LOOPBACK}:{service.port}") as channel:
            check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{SERVICE}/{METHOD}")
            asked = (
                message("/"),
                message("/closed"),
                message("//closed"),
                message("/", authorization="Bearer x"),
            )
            codes = [
                authz_pb2.CheckResponse.FromString(check(one.SerializeToString(), timeout=10)).status.code
                for one in asked
            ]
        assert codes == [0, 7, 7, 16]
        (folder / "policies" / "all.yaml").write_text("kind: [", "utf-8")
        service.process.until_logged("the old configuration serves on")
        found = httpx.get(f"http://{LOOPBACK}:{service.admin_port}/metrics").text
    records = [json.loads(line) for line in (folder / "d.log").read_text("ascii").splitlines()]
    assert [record["reason"] for record in records] == [
        *("allowed_by_policy", "denied_by_policy", "ambiguous_path", "unauthenticated")
    ]
    return samples_of(found)


def test_there_are_expressions() -> None:
    assert len(expressions_of("authz")) > 20


@pytest.mark.parametrize("expression", expressions_of("authz"))
def test_each_metric_and_label_is_one_that_the_service_has(expression: str, scraped: Samples) -> None:
    hold(expression, scraped)


@pytest.mark.parametrize("expression", expressions_of("authz"))
def test_every_bare_metric_is_seen_by_that_test(expression: str) -> None:
    assert not re.search(r"\b(authz|config|grpc|health)_", bare(expression))


def test_alerts_say_what_to_do_and_the_dashboard_has_titles() -> None:
    hold_form("authz")


def test_the_page_names_every_metric_of_the_service(scraped: Samples) -> None:
    page = (Path(__file__).parents[2] / "docs" / "authz.md").read_text("utf-8")
    for name in scraped:
        if name.startswith("authz_"):
            family = re.sub(r"_(bucket|count|sum)$", "", name)
            assert f"`{family}`" in page or f"`{family.removeprefix('authz_jwks')}`" in page, name
