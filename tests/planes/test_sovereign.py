"""envoy-configs/sovereign: the real Sovereign renders everything that Envoy has, and its data changes under load."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from envoy_demo import configs
from envoy_demo.client import Request, answers_ok
from envoy_demo.envoy import Envoy, start_envoy
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from tests.e2e.load import Load
from tests.planes import driving, placing
from tests.planes.driving import Services

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / "build" / "sovereign"
HOST = "shop.example.com"
ETC = "/etc/sovereign"
PACE_S = 1


@dataclass(frozen=True, slots=True)
class Data:
    """What Sovereign renders: the shipped instance, and others, all of one upstream."""

    file: Path
    upstream: int

    def write(self, *others: dict[str, object]) -> None:
        instances = [
            {**each, "port": self.upstream} for each in (*placing.load("sovereign/instances.yaml"), *others)
        ]
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(instances), "utf-8")
        fresh.rename(self.file)


@dataclass(frozen=True, slots=True)
class Rendered:
    envoy: Envoy
    data: Data


@pytest.fixture(scope="session")
def sovereign() -> Path:
    """Install it, if `make test` has not: apart, for its dependencies are not ours."""
    subprocess.run(["make", "--silent", "build/sovereign/.installed"], cwd=ROOT, check=True)
    return INSTALLED / "bin" / "sovereign"


@pytest.fixture(scope="module")
def rendered(of_module: Processes, services: Services, sovereign: Path) -> Rendered:
    folder = of_module.folder / "sovereign"
    shutil.copytree(configs.folder() / "sovereign", folder)
    data = Data(folder / "instances.yaml", services.upstream.port)
    data.write()
    config = placing.load("sovereign/sovereign.yaml")
    config["source_config"]["refresh_rate"] = PACE_S
    placing.write(config, folder / "sovereign.yaml", {ETC: folder})
    sidecars = placing.placed(placing.patient(placing.load("sovereign/sidecars.yaml")), services.ports)
    (folder / "sidecars.yaml").write_text(json.dumps(sidecars), "utf-8")
    place_listener(folder / "templates" / "listeners.yaml")
    port = start_sovereign(of_module, sovereign, folder / "sovereign.yaml")
    ports = {**services.ports, 8070: port, 9901: placing.FREE}
    bootstrap = placing.placed(placing.load("sovereign/envoy.yaml"), ports)
    for source in ("cds_config", "lds_config"):
        bootstrap["dynamic_resources"][source]["api_config_source"]["refresh_delay"] = f"{PACE_S}s"
    return Rendered(start_envoy(of_module, bootstrap, ["ingress"]), data)


def place_listener(template: Path) -> None:
    """Put the listener of a template, which is no YAML yet, on a free port, and its routes at the tests' pace."""
    text = template.read_text("utf-8")
    for shipped, placed in (
        ("address: 0.0.0.0, port_value: 10000", f"address: {LOOPBACK}, port_value: {free_port()}"),
        ("refresh_delay: 5s", f"refresh_delay: {PACE_S}s"),
    ):
        assert shipped in text
        text = text.replace(shipped, placed)
    template.write_text(text, "utf-8")


def start_sovereign(processes: Processes, program: Path, config: Path) -> int:
    """Start it, wait until it answers, and return its port."""
    port = free_port()
    environment = {
        "SOVEREIGN_CONFIG": f"file://{config}",
        "SOVEREIGN_HOST": LOOPBACK,
        "SOVEREIGN_PORT": str(port),
        "SOVEREIGN_WORKERS": "1",
    }
    started = processes.start("sovereign", [str(program)], environment)
    started.until(lambda: answers_ok(port, "/healthcheck"), "readiness")
    return port


def test_all_three_services_have_their_say(rendered: Rendered, services: Services) -> None:
    driving.all_three(driving.plain(rendered.envoy.port, HOST), services, rendered.envoy)


def test_a_change_of_its_data_is_in_force_without_a_restart_and_without_a_failed_request(
    rendered: Rendered,
) -> None:
    api = driving.plain(rendered.envoy.port, "api.example.com")
    assert api(Request("GET", "/public/welcome")).status == 404
    with Load(rendered.envoy.port, "/public/hello", {"host": HOST}) as load:
        rendered.data.write(
            {"name": "api", "service_clusters": ["edge"], "domains": ["api.example.com"], "address": LOOPBACK}
        )
        rendered.envoy.process.until(
            lambda: True if api(Request("GET", "/public/welcome")).status == 200 else None, "the new host"
        )
    assert load.answers.keys() == {200}, load.answers
