"""envoy-configs/ads: listeners, routes, clusters, secrets and the tap slot over one stream, changed under load."""

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from envoy_demo.client import Request, Response
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from tests.e2e.load import Load
from tests.planes import driving, placing, tls
from tests.planes.ads import ControlPlane
from tests.planes.driving import Services
from tests.planes.resources import CLUSTER, LISTENER, ROUTES, SECRET

HOST = "shop.example.com"
FILES = ("clusters", "listeners", "routes", "secrets")
NAMES = (x509.DNSName(HOST), x509.IPAddress(ip_address(LOOPBACK)))


@dataclass(frozen=True, slots=True)
class Served:
    """An Envoy, its control plane, and the resources that it began with, by file."""

    envoy: Envoy
    plane: ControlPlane
    authority: tls.Authority
    resources: dict[str, list[Any]]

    def ask(self, request: Request) -> Response:
        return tls.send(self.envoy.port, self.authority.client(), HOST, request)

    def shown(self) -> bytes | None:
        """Return the certificate, in DER, that Envoy shows to who connects now."""
        with (
            socket.create_connection((LOOPBACK, self.envoy.port), timeout=10) as plain,
            self.authority.client().wrap_socket(plain, server_hostname=HOST) as secured,
        ):
            return secured.getpeercert(binary_form=True)

    def until_taken(self, type_url: str) -> None:
        wanted = self.plane.version(type_url)
        self.envoy.process.until(
            lambda: True if self.plane.acked.get(type_url) == wanted else None, f"version {wanted}"
        )


@pytest.fixture(scope="module")
def served(of_module: Processes, services: Services) -> Iterator[Served]:
    authority = tls.Authority.new()
    certificates = of_module.folder / "tls"
    authority.write(certificates, *NAMES, chain="tls.crt", key="tls.key")
    with ControlPlane(services.tap.port) as plane:
        ports = {**services.ports, 10443: free_port(), 9901: placing.FREE, 18000: plane.port}
        files = {"/etc/envoy/tls": certificates}
        resources = {
            name: placing.placed(placing.patient(placing.load(f"ads/{name}.yaml")), ports, files)["resources"]
            for name in FILES
        }
        for each in resources.values():
            plane.publish(each)
        bootstrap = placing.placed(placing.load("ads/envoy.yaml"), ports)
        yield Served(start_envoy(of_module, bootstrap, ["ingress"]), plane, authority, resources)


def test_all_three_services_have_their_say(served: Served, services: Services) -> None:
    driving.all_three(served.ask, services, served.envoy)
    assert served.plane.refused == []
    assert served.plane.acked.keys() >= {CLUSTER, LISTENER, ROUTES, SECRET}


def test_the_tap_service_knows_the_proxy_behind_the_control_plane(served: Served, services: Services) -> None:
    driving.tap_has_reached(served.envoy)
    nodes = driving.nodes(services)
    assert ("edge-1", "edge", "") in nodes


def test_everything_is_exchanged_under_load_without_one_failed_request(served: Served) -> None:
    context = served.authority.client()
    before = served.envoy.stat("listener_manager.listener_modified")
    with Load(served.envoy.port, "/public/hello", context=context) as load:
        moved = [
            {**each, "name": "upstream_2"}
            for each in served.resources["clusters"]
            if each["name"] == "upstream"
        ]
        moved[0]["load_assignment"] = {**moved[0]["load_assignment"], "cluster_name": "upstream_2"}
        # Make before break: the new cluster, then the routes that lead there, then the old one goes.
        served.plane.publish([*served.resources["clusters"], *moved])
        served.until_taken(CLUSTER)
        served.plane.publish(rerouted(served.resources["routes"], "upstream_2"))
        served.until_taken(ROUTES)
        served.plane.publish(
            [*(each for each in served.resources["clusters"] if each["name"] != "upstream"), *moved]
        )
        served.until_taken(CLUSTER)
        served.plane.publish(renamed(served.resources["listeners"]))
        served.until_taken(LISTENER)
        served.envoy.until_stat("listener_manager.listener_modified", before + 1)
        served.envoy.until_stat("http.after.downstream_rq_2xx", at_least=20)
    assert load.answers.keys() == {200}, load.answers
    assert served.envoy.stat("cluster.upstream_2.upstream_rq_2xx") > 0
    assert served.plane.refused == []


def test_the_certificate_is_exchanged_under_load_without_one_failed_request(
    served: Served, tmp_path: Path
) -> None:
    served.authority.write(tmp_path, *NAMES, chain="tls.crt", key="tls.key")
    renewed = placing.placed(placing.load("ads/secrets.yaml"), {}, {"/etc/envoy/tls": tmp_path})
    wanted = ssl.PEM_cert_to_DER_cert((tmp_path / "tls.crt").read_text())
    assert served.shown() != wanted
    with Load(served.envoy.port, "/public/hello", context=served.authority.client()) as load:
        served.plane.publish(renewed["resources"])
        served.until_taken(SECRET)
        served.envoy.process.until(lambda: True if served.shown() == wanted else None, "the new certificate")
        assert served.ask(Request("GET", "/public/hello")).status == 200
    assert load.answers.keys() == {200}, load.answers
    assert served.plane.refused == []


def rerouted(routes: list[Any], cluster: str) -> list[Any]:
    (config,) = routes
    (host,) = config["virtual_hosts"]
    (route,) = host["routes"]
    changed = {**route, "route": {**route["route"], "cluster": cluster}}
    return [{**config, "virtual_hosts": [{**host, "routes": [changed]}]}]


def renamed(listeners: list[Any]) -> list[Any]:
    """Return the listeners with other statistics: a change that makes Envoy drain the filter chain it has."""
    (listener,) = listeners
    (chain,) = listener["filter_chains"]
    (manager,) = chain["filters"]
    changed = {**manager, "typed_config": {**manager["typed_config"], "stat_prefix": "after"}}
    return [{**listener, "filter_chains": [{**chain, "filters": [changed]}]}]
