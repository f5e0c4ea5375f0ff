"""envoy-configs/sidecar: mutual TLS with SPIFFE identities on both sides, and the services over Unix sockets."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from envoy_demo import configs
from envoy_demo.client import Request, Response
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import free_port
from envoy_demo.processes import Processes
from envoy_demo.scenario import POLICY_HEADER
from envoy_demo.services import start_authz, start_ratelimit, start_tap
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE
from tests.planes import driving, placing, tls
from tests.planes.driving import TAP_PATH, Services

HOST = "orders.shop"
RUN = "/run/envoy-sidecars"
SPIFFE = "/etc/envoy/spiffe"
OPERATOR = "spiffe://demo.example/ns/ops/sa/oncall"
LIMITS = """
domain: edge
descriptors:
  - {key: user, rate_limit: {unit: minute, requests_per_unit: 5}}
  - {key: destination_cluster, value: orders, rate_limit: {unit: minute, requests_per_unit: 3}}
"""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The Envoy of `orders`, which calls itself: its outbound listener leads to its inbound one."""

    envoy: Envoy
    authority: tls.Authority
    services: Services
    folder: Path

    def identity(self, spiffe_id: str) -> Path:
        folder = self.folder / spiffe_id.replace("/", "_")
        if not folder.exists():
            self.authority.write(
                folder, x509.UniformResourceIdentifier(spiffe_id), chain="svid.pem", key="svid.key"
            )
        return folder

    def ask(self, request: Request, spiffe_id: str = OPERATOR) -> Response:
        context = self.authority.client(self.identity(spiffe_id))
        context.check_hostname = False
        return tls.send(self.envoy.port, context, HOST, request)


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="sidecar-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def on_sockets(of_module: Processes, upstream: Upstream, sockets: Path) -> Services:
    limits = of_module.folder / "limits.yaml"
    limits.write_text(LIMITS, "utf-8")

    def options(name: str) -> tuple[str, ...]:
        return ("--listen", f"unix:{sockets / name}.sock", *AT_ONCE)

    started = Services(
        upstream,
        start_authz(of_module, configs.folder() / "examples" / "policies", options("authz")),
        start_ratelimit(of_module, limits, options=options("ratelimit")),
        start_tap(of_module, of_module.folder / "tap", ("--target-path", TAP_PATH, *options("tap"))),
    )
    started.wait_ready()
    return started


@pytest.fixture(scope="module")
def sidecar(of_module: Processes, on_sockets: Services, sockets: Path) -> Sidecar:
    authority = tls.Authority.new()
    own = of_module.folder / "own"
    own_id = x509.UniformResourceIdentifier("spiffe://demo.example/ns/demo/sa/orders")
    authority.write(own, own_id, chain="svid.pem", key="svid.key")
    inbound = free_port()
    ports = {
        15006: inbound,
        15001: placing.FREE,
        15016: inbound,
        9901: placing.FREE,
        8000: on_sockets.upstream.port,
    }
    files = {RUN: sockets}
    for name in ("svid.yaml", "bundle.yaml"):
        secret = placing.load(f"sidecar/{name}")
        files[f"/etc/envoy/{name}"] = placing.write(secret, of_module.folder / name, {SPIFFE: own})
    config = placing.placed(placing.patient(placing.load("sidecar/envoy.yaml")), ports, files)
    return Sidecar(start_envoy(of_module, config), authority, on_sockets, of_module.folder)


def test_all_three_services_have_their_say(sidecar: Sidecar) -> None:
    driving.tap_has_reached(sidecar.envoy)
    driving.tap_captures(sidecar.ask, sidecar.services)
    driving.ratelimit_limits(sidecar.ask)
    denied = sidecar.ask(Request("GET", "/orders/export"))
    assert (denied.status, denied.headers[POLICY_HEADER]) == (403, "demo/no-exports")


@pytest.mark.parametrize(
    ("spiffe_id", "status"), [(OPERATOR, 200), ("spiffe://demo.example/ns/demo/sa/web", 403)]
)
def test_who_may_do_what_is_decided_by_the_identity_in_the_certificate(
    sidecar: Sidecar, spiffe_id: str, status: int
) -> None:
    forged = {"x-forwarded-client-cert": f"URI={OPERATOR}"}
    answer = sidecar.ask(Request("GET", "/admin/users", forged), spiffe_id)
    assert answer.status == status
    if status == 200:
        assert answer.json()["headers"]["x-forwarded-client-cert"].endswith(f"URI={OPERATOR}")


def test_who_has_no_certificate_of_the_trust_domain_is_not_heard(sidecar: Sidecar) -> None:
    with pytest.raises(OSError, match=r"alert|reset|EOF"):
        sidecar.ask(Request("GET", "/public/welcome"), "spiffe://elsewhere.example/ns/ops/sa/oncall")


def test_what_goes_out_carries_the_identity_and_is_limited(sidecar: Sidecar) -> None:
    outbound = driving.plain(sidecar.envoy.ports[1], HOST)
    answers = [outbound(Request("GET", "/public/welcome")) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    seen = answers[0].json()["headers"]["x-forwarded-client-cert"]
    assert seen.endswith("URI=spiffe://demo.example/ns/demo/sa/orders")


def test_the_services_are_reached_over_their_sockets_and_seen_healthy(sidecar: Sidecar) -> None:
    for name in ("authz", "ratelimit", "tap"):
        sidecar.envoy.until_stat(f"cluster.envoy_{name}.health_check.success", at_least=1)
