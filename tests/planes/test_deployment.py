"""What starts the services: the image, compose, Kubernetes and systemd. Without a cluster, a daemon or an init."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which
from typing import Any

import kubernetes_validate
import pytest
from cyclopts import App
from ruamel.yaml import YAML

from envoy_authz import cli as authz
from envoy_demo import configs
from envoy_ratelimit import cli as ratelimit
from envoy_tap import cli as tap
from tests.planes import placing

ROOT = Path(__file__).parents[2]
KUBERNETES = "1.35"
PROGRAMS: dict[str, App] = {"authz": authz.app, "ratelimit": ratelimit.app, "tap": tap.app}
UNITS = sorted((configs.folder() / "systemd").glob("*.service"))


def understood(service: str, arguments: list[str]) -> None:
    """Raise if the service's command does not take *arguments*."""
    PROGRAMS[service].parse_args(arguments, exit_on_error=False, print_error=False)


def test_the_dockerfile_is_as_hadolint_likes_it() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    result = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted((configs.folder() / "kubernetes").glob("*.yaml")):
        for document in YAML(typ="safe", pure=True).load_all(file):
            yield f"{file.name}:{document['kind']}:{document['metadata']['name']}", document


MANIFESTS = dict(manifests())


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, manifest in MANIFESTS.items():
        template = manifest.get("spec", {}).get("template")
        if template:
            yield name, template["spec"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_of_the_schema_of_kubernetes(name: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], KUBERNETES, strict=True)


@pytest.mark.parametrize(("name", "pod"), list(pods()))
def test_a_pod_runs_without_privileges_and_its_commands_are_understood(
    name: str, pod: dict[str, Any]
) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    volumes = {volume["name"] for volume in pod["volumes"]} | {"data"}
    for container in [*pod["containers"], *pod.get("initContainers", ())]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"], name
        assert not context["allowPrivilegeEscalation"], name
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        service = {each["name"]: each["value"] for each in container.get("env", ())}.get("SERVICE")
        if service is not None:
            understood(service, container["args"])


@pytest.mark.parametrize("service", ["authz", "ratelimit"])
def test_a_deployment_is_given_the_time_to_drain(service: str) -> None:
    spec = MANIFESTS[f"{service}.yaml:Deployment:{service}"]["spec"]
    pod = spec["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] > 5 + 10, "--drain-delay and --drain-time"
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    kinds = {name.split(":")[1] for name in MANIFESTS if name.startswith(f"{service}.yaml")}
    assert kinds >= {"PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy", "Service"}


def test_the_pod_without_a_mesh_has_the_bootstrap_and_the_policies_that_are_tested() -> None:
    bootstrap = MANIFESTS["pod.yaml:ConfigMap:envoy"]["data"]["envoy.yaml"]
    # tests/e2e/test_edge.py drives it.
    assert placing.parsed(bootstrap) == placing.load("static/edge.yaml")
    for file in ("pod.yaml", "authz.yaml"):
        policies = MANIFESTS[f"{file}:ConfigMap:authz"]["data"]
        shipped = (configs.folder() / "examples" / "policies").glob("*.yaml")
        assert policies == {each.name: each.read_text("utf-8") for each in shipped}


def test_compose_mounts_what_is_there_runs_without_root_and_its_commands_are_understood() -> None:
    services = placing.load("compose/compose.yaml")["services"]
    folder = configs.folder() / "compose"
    for name, service in services.items():
        for volume in service.get("volumes", ()):
            assert (folder / volume.split(":")[0]).exists(), volume
        assert name == "envoy" or service["network_mode"] == "service:envoy"
        # An entrypoint that starts as root and becomes a user can't, without capabilities; our own image never is root.
        assert service["cap_drop"] == ["ALL"]
        assert "build" in service or service["user"].split(":")[0] != "0"
        if "SERVICE" in service.get("environment", {}):
            understood(service["environment"]["SERVICE"], service["command"])
    assert services["envoy"]["ports"] == ["127.0.0.1:10000:10000"]


@pytest.mark.skipif(which("systemd-analyze") is None, reason="no systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_what_systemd_takes_and_little_exposed(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text("utf-8")
    (command,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    program, *arguments = command.removeprefix("ExecStart=").split()
    understood(Path(program).name.removeprefix("envoy-"), arguments)
    here = tmp_path / unit.name
    here.write_text(text.replace("/opt/envoy-sidecars/bin", str(Path(sys.executable).parent)), "utf-8")
    for arguments in (["verify"], ["security", "--offline=true", "--threshold=15"]):
        result = subprocess.run(
            ["systemd-analyze", *arguments, here], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_there_are_units_for_all_three() -> None:
    assert [unit.stem for unit in UNITS] == ["envoy-authz", "envoy-ratelimit", "envoy-tap"]
