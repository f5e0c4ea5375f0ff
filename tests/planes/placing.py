"""A configuration for other machines, put on this one: every port and file in it is exchanged, or the test fails."""

import json
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from envoy_demo import configs
from envoy_demo.configs import Config
from envoy_demo.ports import LOOPBACK

FREE = 0
PATIENCE = "5s"


def load(path: str) -> Any:
    """Return the parsed file *path* of `envoy-configs/`."""
    return YAML(typ="safe", pure=True).load(configs.folder() / path)


def parsed(text: str) -> Any:
    """Return YAML that stands as text in another document."""
    return YAML(typ="safe", pure=True).load(text)


def at(value: Any, *keys: str) -> Any:
    """Return what stands below *value*."""
    for key in keys:
        value = value[key]
    return value


def installed(command: Sequence[str]) -> list[str]:
    """Return a command of the image, as it is installed here."""
    program, *arguments = command
    return [str(Path(sys.executable).with_name(program)), *arguments]


def placed(value: Any, ports: Mapping[int, int], files: Mapping[str, Path | str] | None = None) -> Any:
    """Return a copy of *value* whose addresses are *ports* on loopback, and whose paths are below *files*.

    *ports* gives for every port that is written the one to be used. *files* gives for the beginning
    of a path or other text the one that takes its place. Raises KeyError for a port that is not given.
    """
    if isinstance(value, list):
        return [placed(each, ports, files) for each in value]
    if isinstance(value, str):
        return _moved(value, files or {})
    if not isinstance(value, dict):
        return value
    address = value.get("socket_address")
    if isinstance(address, dict) and "port_value" in address:
        return {**value, "socket_address": {"address": LOOPBACK, "port_value": ports[address["port_value"]]}}
    return {key: placed(each, ports, files) for key, each in value.items()}


def _moved(path: str, files: Mapping[str, Path | str]) -> str:
    for prefix, folder in files.items():
        if path.startswith(prefix):
            return str(folder) + path[len(prefix) :]
    return path


def write(value: Any, file: Path, files: Mapping[str, Path | str]) -> Path:
    """Write *value*, with its paths below *files*, into *file*: Envoy reads JSON as YAML."""
    file.write_text(json.dumps(placed(value, {}, files)), "utf-8")
    return file


def patient(value: Any) -> Any:
    """Return a copy of *value* whose authz and ratelimit filters wait long enough for a busy machine."""
    changed = deepcopy(value)
    for config in _messages(changed):
        kind = str(config.get("@type", "")).rpartition(".")[2]
        if kind == "ExtAuthz":
            config["grpc_service"]["timeout"] = PATIENCE
        elif kind == "RateLimit":
            config["timeout"] = PATIENCE
    return changed


def bootstrap(
    listeners: list[Config], clusters: list[Config], *, node: str = "test-1", cluster: str = "test"
) -> Config:
    """Return a whole bootstrap around the parts that a control plane would have given."""
    return {
        "node": {"id": node, "cluster": cluster},
        "admin": {"address": {"socket_address": {"address": LOOPBACK, "port_value": FREE}}},
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def _messages(value: Any) -> list[Config]:
    if isinstance(value, list):
        return [found for each in value for found in _messages(each)]
    if not isinstance(value, dict):
        return []
    return [value, *(found for each in value.values() for found in _messages(each))]
