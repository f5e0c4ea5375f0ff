"""Shipped configurations are put on other ports completely, or not at all."""

from pathlib import Path
from typing import Any

import pytest

from envoy_demo import configs

EDGE = {"upstream": [1], "envoy_authz": [2], "envoy_ratelimit": [3], "envoy_tap": [4]}


def socket_addresses(node: Any) -> list[tuple[str, int]]:
    if isinstance(node, list):
        return [found for item in node for found in socket_addresses(item)]
    if not isinstance(node, dict):
        return []
    own = [(node["address"], node["port_value"])] if "port_value" in node else []
    return own + [found for value in node.values() for found in socket_addresses(value)]


def test_every_address_of_the_edge_configuration_is_moved_to_loopback() -> None:
    placed = configs.on_ports(configs.load("edge.yaml"), EDGE, listener_port=5)
    assert sorted(socket_addresses(placed)) == [("127.0.0.1", port) for port in range(6)]


def test_the_configuration_itself_is_left_as_it_is() -> None:
    original = configs.load("edge.yaml")
    configs.be_patient(configs.on_ports(original, EDGE))
    assert original == configs.load("edge.yaml")


ABOUT_PORTS = {"socket_address", "enable_reuse_port"}


def test_only_addresses_and_the_sharing_of_a_port_are_changed() -> None:
    def without_addresses(node: Any) -> Any:
        if isinstance(node, list):
            return [without_addresses(item) for item in node]
        if isinstance(node, dict):
            return {key: without_addresses(value) for key, value in node.items() if key not in ABOUT_PORTS}
        return node

    original = configs.load("edge.yaml")
    assert without_addresses(configs.on_ports(original, EDGE)) == without_addresses(original)


@pytest.mark.parametrize(
    ("endpoints", "message"),
    [
        ({**EDGE, "typo": [5]}, "typo"),
        ({name: ports for name, ports in EDGE.items() if name != "envoy_tap"}, "envoy_tap"),
        ({**EDGE, "envoy_authz": [2, 6]}, "envoy_authz has 1 endpoints, not 2"),
    ],
)
def test_clusters_and_endpoints_must_be_exactly_those_of_the_configuration(
    endpoints: dict[str, list[int]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        configs.on_ports(configs.load("edge.yaml"), endpoints)


def test_patience_reaches_both_filters() -> None:
    config = configs.be_patient(configs.load("edge.yaml"), timeout_seconds=7)
    assert configs.http_filter(config, configs.EXT_AUTHZ)["grpc_service"]["timeout"] == "7s"
    assert configs.http_filter(config, configs.RATELIMIT)["timeout"] == "7s"


def test_a_missing_filter_is_an_error() -> None:
    with pytest.raises(KeyError, match="ratelimit"):
        configs.http_filter(configs.load("authz.yaml"), configs.RATELIMIT)


def test_a_missing_folder_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ENVOY_CONFIGS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="set ENVOY_CONFIGS to a copy"):
        configs.folder()
