"""The shipped edge configuration with everything that the doctor likes: it has nothing to say about this one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from envoy_demo import configs
from envoy_demo.configs import EXT_AUTHZ, Config
from envoy_sidecar.config.documents import Place
from envoy_sidecar.doctor.diagnosis import Diagnosis
from envoy_sidecar.doctor.examine import examine
from envoy_sidecar.doctor.source import from_file

Change = Callable[[Config], object]
SLOT = "envoy_tap_slot"
SERVICE_CLUSTERS = ("envoy_authz", "envoy_ratelimit", "envoy_tap")


def healthy() -> Config:
    config = configs.load("edge.yaml")
    authz = configs.http_filter(config, EXT_AUTHZ)
    authz["encode_raw_headers"] = True
    authz["with_request_body"] = {"max_request_bytes": 8192, "pack_as_bytes": True}
    for name in SERVICE_CLUSTERS:
        check = {"interval": "0.5s", "timeout": "0.3s", "unhealthy_threshold": 2, "healthy_threshold": 1}
        cluster(config, name)["health_checks"] = [{**check, "grpc_health_check": {}}]
    # Aliases are one object: what is changed in one place would be in another.
    copied: Config = json.loads(json.dumps(config))
    return copied


def manager(config: Config) -> Config:
    found: Config = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found


def slot(config: Config) -> Config:
    found: Config = named(manager(config)["http_filters"], SLOT)["config_discovery"]
    return found


def cluster(config: Config, name: str) -> Config:
    return named(config["static_resources"]["clusters"], name)


def named(entries: list[Config], name: str) -> Config:
    return next(each for each in entries if each["name"] == name)


def examined(config: Config, folder: Path) -> list[Diagnosis]:
    file = folder / "bootstrap.json"
    file.write_text(json.dumps(config, indent=1), "utf-8")
    return examine(from_file(file))


def at(config: Config, place: Place | str | None) -> Any:
    """Return what stands at a finding's place."""
    keys: list[str | int] = []
    while isinstance(place, Place):
        keys.append(place.key)
        place = place.above
    value: Any = config
    for key in reversed(keys):
        value = value[key]
    return value
