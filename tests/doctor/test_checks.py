"""Findings that no fragment mends, and the forms in which control planes write what the doctor reads."""

from pathlib import Path
from typing import Any

import pytest

from envoy_demo import configs
from envoy_demo.configs import EXT_AUTHZ, RATELIMIT, Config
from envoy_sidecar.doctor.model import LUA, MATCHED, TAP
from tests.doctor.healthy import SLOT, examined, healthy, manager, named, slot

PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
SOCKET_TAP = "type.googleapis.com/envoy.extensions.transport_sockets.tap.v3.Tap"


def checks(config: Config, folder: Path) -> list[str]:
    return [each.check for each in examined(config, folder)]


def filters(config: Config) -> list[Any]:
    found: list[Any] = manager(config)["http_filters"]
    return found


def test_a_route_that_authz_is_left_out_of_is_named(tmp_path: Path) -> None:
    config = healthy()
    route = {
        "name": "open-to-all",
        "match": {"prefix": "/open"},
        "route": {"cluster": "upstream"},
        "typed_per_filter_config": {EXT_AUTHZ: {"@type": PER_ROUTE, "disabled": True}},
    }
    manager(config)["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
    (found,) = examined(config, tmp_path)
    assert (found.check, found.message) == (
        "authz-route-left-out",
        "open-to-all is not checked (disabled: true)",
    )


def test_authz_that_is_told_to_be_asked_by_http_or_by_google_is_named(tmp_path: Path) -> None:
    config = healthy()
    authz = configs.http_filter(config, EXT_AUTHZ)
    del authz["grpc_service"]["envoy_grpc"]
    authz["grpc_service"]["google_grpc"] = {"target_uri": "127.0.0.1:9191", "stat_prefix": "authz"}
    assert checks(config, tmp_path) == ["google-grpc"]
    del authz["grpc_service"]
    authz["http_service"] = {"server_uri": {"uri": "http://authz", "cluster": "envoy_authz", "timeout": "1s"}}
    assert checks(config, tmp_path) == ["authz-over-http"]


def test_the_order_of_the_filters_is_looked_at(tmp_path: Path) -> None:
    config = healthy()
    chain = filters(config)
    chain[0], chain[1], chain[2] = chain[2], chain[1], chain[0]  # ratelimit, authz, slot
    assert checks(config, tmp_path) == ["authz-after-ratelimit", "tap-behind-others"]


def test_a_sink_that_ends_a_stock_envoy_is_found_anywhere(tmp_path: Path) -> None:
    config = healthy()
    sink = {"streaming_grpc": {"grpc_service": {"envoy_grpc": {"cluster_name": "envoy_tap"}}}}
    tapped = {"common_config": {"static_config": {"output_config": {"sinks": [sink]}}}}
    config["static_resources"]["clusters"][0]["transport_socket"] = {
        "name": "envoy.transport_sockets.tap",
        "typed_config": {"@type": SOCKET_TAP, **tapped},
    }
    (found,) = examined(config, tmp_path)
    assert (found.check, found.severity) == ("tap-streaming-grpc", "error")


def test_a_tap_by_the_admin_interface_is_named(tmp_path: Path) -> None:
    config = healthy()
    tap = {
        "@type": f"type.googleapis.com/{TAP}",
        "common_config": {"admin_config": {"config_id": "any"}},
    }
    filters(config).insert(0, {"name": "envoy.filters.http.tap", "typed_config": tap})
    assert checks(config, tmp_path) == ["tap-by-admin"]


def test_a_filter_is_seen_inside_a_typed_struct_and_behind_a_matcher(tmp_path: Path) -> None:
    config = healthy()
    for entry in filters(config):
        if entry["name"] == EXT_AUTHZ:
            fields = dict(entry["typed_config"])
            entry["typed_config"] = {
                "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
                "type_url": fields.pop("@type"),
                "value": {**fields, "failure_mode_allow": True},
            }
        if entry["name"] == RATELIMIT:
            entry["typed_config"] = {
                "@type": "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
                "extension_config": {
                    "name": RATELIMIT,
                    "typed_config": {**entry["typed_config"], "timeout": "5s"},
                },
            }
    assert checks(config, tmp_path) == ["authz-fails-open", "timeout-long"]


def test_a_slot_whose_default_is_a_tap_that_matches_nothing_is_right(tmp_path: Path) -> None:
    config = healthy()
    slot(config)["default_config"] = {
        "@type": f"type.googleapis.com/{TAP}",
        "common_config": {
            "static_config": {
                "match": {"not_match": {"any_match": True}},
                "output_config": {"sinks": [{"file_per_tap": {"path_prefix": "/dev/null"}}]},
            }
        },
    }
    assert checks(config, tmp_path) == []


@pytest.mark.parametrize(
    ("default", "pushed", "known"),
    [(LUA, [LUA, MATCHED], True), (TAP, [LUA], True), (LUA, [LUA], False), (LUA, [LUA, TAP], True)],
)
def test_a_slot_of_another_name_is_known_by_what_it_holds(
    tmp_path: Path, default: str, pushed: list[str], known: bool
) -> None:
    config = healthy()
    slot(config).update(
        default_config={"@type": f"type.googleapis.com/{default}"},
        type_urls=[f"type.googleapis.com/{name}" for name in pushed],
    )
    named(filters(config), SLOT)["name"] = "captures"
    assert checks(config, tmp_path) == ["tap-types" if known else "tap-missing"]


def test_a_slot_that_the_control_plane_fills_is_none_that_lacks_a_time_to_live(tmp_path: Path) -> None:
    config = healthy()
    slot(config)["config_source"] = {"ads": {}, "resource_api_version": "V3"}
    assert checks(config, tmp_path) == []
