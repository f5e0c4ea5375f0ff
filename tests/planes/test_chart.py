"""The Helm chart renders, by its own values, what stands in envoy-configs/kubernetes; needs Helm (`make build/helm/helm`)."""

import json
import subprocess
from pathlib import Path
from shutil import which
from typing import Any

import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from envoy_demo import configs
from tests.planes.test_deployment import KUBERNETES, MANIFESTS, ROOT

CHART = configs.folder() / "helm" / "envoy-sidecars"
BUILT = ROOT / "build" / "helm" / "helm"
HELM = str(BUILT) if BUILT.exists() else which("helm")
NAMESPACE = "envoy-sidecars"

pytestmark = pytest.mark.skipif(HELM is None, reason="no helm: `make build/helm/helm` builds one")


def helm(*arguments: str) -> str:
    result = subprocess.run([str(HELM), *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def rendered(values: dict[str, Any], folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "values.json"
    file.write_text(json.dumps(values), "utf-8")
    options = ("--namespace", NAMESPACE, "--kube-version", KUBERNETES, "--values", str(file))
    text = helm("template", "sidecars", str(CHART), *options)
    documents = [each for each in YAML(typ="safe", pure=True).load_all(text) if each]
    return {f"{each['kind']}:{each['metadata']['name']}": each for each in documents}


def files(folder: str) -> dict[str, str]:
    shipped = sorted((configs.folder() / "examples" / folder).glob("*.yaml"))
    return {each.name: each.read_text("utf-8") for each in shipped}


def test_helm_finds_nothing_wrong() -> None:
    helm("lint", "--strict", str(CHART))


def test_by_its_own_values_it_renders_the_manifests_that_are_tested(tmp_path: Path) -> None:
    values = {"authz": {"files": files("policies")}, "ratelimit": {"files": files("limits")}}
    found = rendered(values, tmp_path)
    for document in found.values():
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        if document["kind"] in {"Deployment", "StatefulSet"}:
            (container,) = document["spec"]["template"]["spec"]["containers"]
            assert container.pop("imagePullPolicy") == "IfNotPresent"
    shipped = {
        name.partition(":")[2]: manifest
        for name, manifest in MANIFESTS.items()
        if name.split(".")[0] in {"authz", "ratelimit", "tap"}
    }
    assert found == shipped


def test_values_are_heeded(tmp_path: Path) -> None:
    values = {
        "image": {"repository": "registry.example/sidecars", "tag": "2"},
        "authz": {"configMap": "ours", "args": ["--workers", "2"], "minReplicas": 3},
        "ratelimit": {"enabled": False},
        "tap": {"enabled": False},
    }
    found = rendered(values, tmp_path)
    assert set(found) == {
        f"{kind}:authz"
        for kind in (
            "Deployment",
            "Service",
            "PodDisruptionBudget",
            "HorizontalPodAutoscaler",
            "NetworkPolicy",
        )
    }
    pod = found["Deployment:authz"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.example/sidecars:2"
    assert pod["containers"][0]["args"][-2:] == ["--workers", "2"]
    assert pod["volumes"][1] == {"name": "authz", "configMap": {"name": "ours"}}
    assert found["HorizontalPodAutoscaler:authz"]["spec"]["minReplicas"] == 3
