"""Envoy itself accepts every configuration that is shipped."""

import pytest

from envoy_demo import configs
from envoy_demo.envoy import validate
from envoy_demo.processes import Processes
from envoy_sidecar.doctor.examine import examine
from envoy_sidecar.doctor.source import from_file

SHIPPED = sorted(path.name for path in (configs.folder() / "static").glob("*.yaml"))


def test_there_are_configurations() -> None:
    assert {
        "edge.yaml",
        "edge-replicas.yaml",
        "authz.yaml",
        "authz-replicas.yaml",
        "ratelimit.yaml",
        "tap.yaml",
    } <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_envoy_accepts(name: str, processes: Processes) -> None:
    exit_code, output = validate(processes, configs.folder() / "static" / name)
    assert exit_code == 0, output
    # What Envoy will refuse one day it announces today.
    assert "deprecated" not in output.lower(), output


@pytest.mark.parametrize("name", SHIPPED)
def test_the_doctor_finds_nothing_but_notes(name: str) -> None:
    found = examine(from_file(configs.folder() / "static" / name))
    assert [str(each) for each in found if each.severity != "note"] == []
