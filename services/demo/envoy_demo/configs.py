"""The configurations in `envoy-configs/`, as they are, put on other ports."""

import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from envoy_demo.ports import LOOPBACK

Config = dict[str, Any]

EXT_AUTHZ = "envoy.filters.http.ext_authz"
RATELIMIT = "envoy.filters.http.ratelimit"
_FOLDER = "envoy-configs"


def folder() -> Path:
    """Return `envoy-configs/`: $ENVOY_CONFIGS if set, else the one of the repository that this file is in.

    Raises FileNotFoundError, with what to do, when there is none.
    """
    named = os.environ.get("ENVOY_CONFIGS")
    candidates = [Path(named)] if named else [parent / _FOLDER for parent in Path(__file__).resolve().parents]
    for candidate in candidates:
        if (candidate / "static").is_dir():
            return candidate
    raise FileNotFoundError(
        f"no {_FOLDER}/static in {named or Path(__file__).parent}: the demo runs from a checkout of the repository; "
        f"elsewhere, set ENVOY_CONFIGS to a copy of its {_FOLDER} folder"
    )


def load(name: str) -> Config:
    """Return the parsed `envoy-configs/static/<name>`; raises OSError or ruamel.yaml.error.YAMLError."""
    loaded: Config = YAML(typ="safe", pure=True).load(folder() / "static" / name)
    return loaded


def on_ports(config: Config, endpoints: Mapping[str, Sequence[int]], listener_port: int = 0) -> Config:
    """Return a copy of *config* that listens on loopback only and whose clusters lead to *endpoints*.

    *endpoints* gives, for every cluster of the configuration by name, the loopback ports that stand in for its
    endpoints in their order. The one listener takes *listener_port*, where 0 means a free one; the admin interface
    always takes a free one. Raises ValueError when clusters or endpoints are not exactly those of the configuration:
    none may silently keep its address.
    """
    placed = deepcopy(config)
    placed["admin"]["address"]["socket_address"] = _loopback(0)
    resources = placed["static_resources"]
    for listener in resources["listeners"]:
        listener["address"]["socket_address"] = _loopback(listener_port)
        # Else a second Envoy on the same port would quietly share its connections.
        listener["enable_reuse_port"] = False
    names = {cluster["name"] for cluster in resources["clusters"]}
    if names != set(endpoints):
        raise ValueError(f"the configuration has the clusters {sorted(names)}, not {sorted(endpoints)}")
    for cluster in resources["clusters"]:
        addresses = [
            endpoint["endpoint"]["address"]
            for locality in cluster["load_assignment"]["endpoints"]
            for endpoint in locality["lb_endpoints"]
        ]
        ports = endpoints[cluster["name"]]
        if len(addresses) != len(ports):
            raise ValueError(f"{cluster['name']} has {len(addresses)} endpoints, not {len(ports)}")
        for address, port in zip(addresses, ports, strict=True):
            address["socket_address"] = _loopback(port)
    return placed


def http_filter(config: Config, name: str) -> Config:
    """Return the part of *config* that sets up the HTTP filter *name*, to be changed in place.

    Raises KeyError when the first listener has no such filter.
    """
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for candidate in manager["http_filters"]:
        if candidate["name"] == name:
            found: Config = candidate["typed_config"]
            return found
    raise KeyError(name)


def be_patient(config: Config, timeout_seconds: float = 5) -> Config:
    """Let the authz and ratelimit filters of *config*, in place, wait *timeout_seconds* for an answer, in each try.

    The shipped 200 and 20 ms are right for traffic, but on a machine busy with other things they end in what the
    filter does without an answer, which is not what a demonstration of the answer wants.
    """
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    names = {candidate["name"] for candidate in chain["http_filters"]}
    if EXT_AUTHZ in names:
        service = http_filter(config, EXT_AUTHZ)["grpc_service"]
        service["timeout"] = f"{timeout_seconds}s"
        _retry_patiently(service, timeout_seconds)
    if RATELIMIT in names:
        limiting = http_filter(config, RATELIMIT)
        limiting["timeout"] = f"{timeout_seconds}s"
        _retry_patiently(limiting["rate_limit_service"]["grpc_service"], timeout_seconds)
    return config


def _retry_patiently(grpc_service: Config, timeout_seconds: float) -> None:
    """Let each try wait, too: Envoy takes the greatest interval between tries as a try's timeout."""
    if "retry_policy" in grpc_service:
        grpc_service["retry_policy"]["retry_back_off"]["max_interval"] = f"{timeout_seconds}s"


def _loopback(port: int) -> Config:
    return {"address": LOOPBACK, "port_value": port}
