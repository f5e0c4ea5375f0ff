"""envoy-configs/file-xds: everything from files, changed by a rename, under load."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import free_port
from envoy_demo.processes import Processes
from tests.e2e.load import Load
from tests.planes import driving, placing
from tests.planes.driving import Services


@dataclass(frozen=True, slots=True)
class FromFiles:
    envoy: Envoy
    folder: Path
    written: dict[str, Any]

    def change(self, name: str, changed: Any) -> None:
        """Write a file beside the folder and move it in, as is due: Envoy reads only what is whole."""
        fresh = self.folder.with_name(f"new-{name}")
        fresh.write_text(json.dumps(changed), "utf-8")
        fresh.rename(self.folder / name)


@pytest.fixture(scope="module")
def from_files(of_module: Processes, services: Services) -> FromFiles:
    folder = of_module.folder / "xds"
    folder.mkdir()
    ports = {**services.ports, 10000: free_port(), 9901: placing.FREE}
    files = {"/etc/envoy/xds": folder}
    written = {}
    for name in ("clusters.yaml", "listeners.yaml", "routes.yaml"):
        written[name] = placing.placed(placing.patient(placing.load(f"file-xds/{name}")), ports, files)
        (folder / name).write_text(json.dumps(written[name]), "utf-8")
    bootstrap = placing.placed(placing.load("file-xds/envoy.yaml"), ports, files)
    return FromFiles(start_envoy(of_module, bootstrap, ["ingress"]), folder, written)


def test_all_three_services_have_their_say(from_files: FromFiles, services: Services) -> None:
    driving.all_three(driving.plain(from_files.envoy.port), services, from_files.envoy)


def test_routes_and_clusters_are_exchanged_under_load_without_one_failed_request(
    from_files: FromFiles,
) -> None:
    envoy = from_files.envoy
    with Load(envoy.port, "/public/hello") as load:
        clusters = from_files.written["clusters.yaml"]["resources"]
        added = json.loads(json.dumps(clusters).replace('"upstream"', '"upstream_2"'))[:1]
        from_files.change("clusters.yaml", {"resources": [*clusters, *added]})
        envoy.until_stat("cluster_manager.cds.update_success", at_least=2)
        routes = json.dumps(from_files.written["routes.yaml"]).replace('"upstream"', '"upstream_2"')
        from_files.change("routes.yaml", json.loads(routes))
        envoy.until_stat("cluster.upstream_2.upstream_rq_2xx", at_least=20)
        from_files.change("clusters.yaml", {"resources": [*clusters[1:], *added]})
        envoy.until_stat("cluster_manager.cluster_removed", at_least=1)
    assert load.answers.keys() == {200}, load.answers


def test_a_file_that_envoy_cannot_use_leaves_the_old_one_in_force(from_files: FromFiles) -> None:
    envoy = from_files.envoy
    (routes,) = from_files.written["routes.yaml"]["resources"]
    twice = {**routes, "virtual_hosts": [*routes["virtual_hosts"], {"name": "again", "domains": ["*"]}]}
    from_files.change("routes.yaml", {"resources": [twice]})
    envoy.until_stat("http.ingress.rds.ingress.update_rejected", at_least=1)
    driving.authz_decides(driving.plain(envoy.port))
