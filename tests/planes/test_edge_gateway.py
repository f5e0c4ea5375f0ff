"""envoy-configs/edge-gateway: TLS, two hosts, and nothing believed that a client says about itself."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509

from envoy_demo import configs
from envoy_demo.client import Request, Response
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.processes import Processes
from envoy_sidecar.doctor.examine import examine
from envoy_sidecar.doctor.source import from_file
from tests.planes import driving, placing, tls
from tests.planes.driving import Services

LISTENERS = {10443: placing.FREE, 10000: placing.FREE, 9901: placing.FREE}


@dataclass(frozen=True, slots=True)
class Gateway:
    envoy: Envoy
    authority: tls.Authority
    certificates: Path

    def ask(self, request: Request, host: str = "api.example.com") -> Response:
        return tls.send(self.envoy.port, self.authority.client(), host, request)


@pytest.fixture(scope="module")
def gateway(of_module: Processes, services: Services) -> Gateway:
    authority = tls.Authority.new()
    certificates = of_module.folder / "tls"
    write_certificate(authority, certificates)
    config = placing.load("edge-gateway/envoy.yaml")
    ports = {**services.ports, **LISTENERS}
    files = {"/etc/envoy/tls": certificates}
    secrets = of_module.folder / "secrets.yaml"
    placing.write(placing.load("edge-gateway/secrets.yaml"), secrets, files)
    config = placing.placed(placing.patient(config), ports, {"/etc/envoy/secrets.yaml": secrets})
    return Gateway(start_envoy(of_module, config), authority, certificates)


def write_certificate(authority: tls.Authority, folder: Path) -> None:
    names = (x509.DNSName("shop.example.com"), x509.DNSName("api.example.com"))
    authority.write(folder, *names, chain="tls.crt", key="tls.key")


def test_all_three_services_have_their_say(gateway: Gateway, services: Services) -> None:
    driving.all_three(gateway.ask, services, gateway.envoy)


def test_each_host_has_limits_of_its_own(gateway: Gateway) -> None:
    user = {"x-user": "of-the-shop"}
    answers = [gateway.ask(Request("GET", "/orders", user), "shop.example.com") for _ in range(7)]
    assert {answer.status for answer in answers} == {200}
    assert "500" in answers[0].headers["x-ratelimit-limit"]


def test_another_host_is_refused_and_nobody_is_asked(gateway: Gateway) -> None:
    before = gateway.envoy.stat("cluster.envoy_authz.upstream_rq_total")
    context = gateway.authority.client()
    context.check_hostname = False
    answer = tls.send(gateway.envoy.port, context, "evil.example.com", Request("GET", "/public/welcome"))
    assert answer.status == 404
    assert gateway.envoy.stat("cluster.envoy_authz.upstream_rq_total") == before


def test_what_a_client_says_about_itself_does_not_reach_the_upstream(gateway: Gateway) -> None:
    forged = {
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-client-cert": "URI=spiffe://demo.example/ns/ops/sa/root",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-internal": "true",
    }
    echo = gateway.ask(Request("GET", "/public/welcome", forged)).json()["headers"]
    # For a client on loopback Envoy writes its own address.
    assert "6.6.6.6" not in echo["x-forwarded-for"]
    assert "," not in echo["x-forwarded-for"]
    assert not {"x-forwarded-client-cert", "x-envoy-upstream-rq-timeout-ms", "x-envoy-internal"} & echo.keys()
    denied = gateway.ask(Request("GET", "/admin/users", forged))
    assert denied.status == 403


def test_plain_http_is_sent_to_https(gateway: Gateway) -> None:
    plain = gateway.envoy.ports[1]
    answer = driving.plain(plain, "shop.example.com")(Request("GET", "/orders?x=1"))
    assert (answer.status, answer.headers["location"]) == (301, "https://shop.example.com/orders?x=1")


def test_a_renewed_certificate_is_shown_without_a_restart(gateway: Gateway) -> None:
    renewed = tls.Authority.new()
    fresh = gateway.certificates.with_name("fresh")
    write_certificate(renewed, fresh)
    before = gateway.envoy.stat("listener_manager.listener_create_success")
    for name in ("tls.key", "tls.crt"):
        shutil.move(fresh / name, gateway.certificates / name)

    def shown() -> bool | None:
        try:
            answer = tls.send(
                gateway.envoy.port, renewed.client(), "shop.example.com", Request("GET", "/public/welcome")
            )
        except OSError:
            return None
        return True if answer.status == 200 else None

    gateway.envoy.process.until(shown, "new certificate")
    assert gateway.envoy.stat("listener_manager.listener_create_success") == before


def test_the_doctor_finds_nothing_but_notes() -> None:
    found = examine(from_file(configs.folder() / "edge-gateway" / "envoy.yaml"))
    assert [each.check for each in found if each.severity != "note"] == []
