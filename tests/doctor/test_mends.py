"""One fault at a time: the doctor names it, and pasting its fragment mends it, for the doctor and for a real Envoy."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from envoy_demo import configs
from envoy_demo.configs import EXT_AUTHZ, RATELIMIT, Config
from envoy_demo.envoy import validate
from envoy_demo.processes import Processes
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend
from tests.doctor.healthy import SERVICE_CLUSTERS, Change, at, cluster, examined, healthy, manager, slot

MTLS = {
    "name": "envoy.transport_sockets.tls",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [{"name": "own", "sds_config": {"ads": {}}}]
        },
    },
}


def in_authz(**fields: Any) -> Change:
    return lambda config: configs.http_filter(config, EXT_AUTHZ).update(fields)


def in_ratelimit(**fields: Any) -> Change:
    return lambda config: configs.http_filter(config, RATELIMIT).update(fields)


def in_manager(**fields: Any) -> Change:
    return lambda config: manager(config).update(fields)


def in_slot(**fields: Any) -> Change:
    return lambda config: slot(config).update(fields)


def in_authz_cluster(**fields: Any) -> Change:
    return lambda config: cluster(config, "envoy_authz").update(fields)


def authz_timeout(timeout: str) -> Change:
    return lambda config: configs.http_filter(config, EXT_AUTHZ)["grpc_service"].update(timeout=timeout)


def without(part: Any, *names: str) -> Change:
    def remove(config: Config) -> None:
        for name in names:
            del part(config)[name]

    return remove


def authz(config: Config) -> Config:
    return configs.http_filter(config, EXT_AUTHZ)


def ratelimit(config: Config) -> Config:
    return configs.http_filter(config, RATELIMIT)


def without_filter(name: str, *unused: str) -> Change:
    def remove(config: Config) -> None:
        chain = manager(config)["http_filters"]
        chain[:] = [each for each in chain if each["name"] != name]
        clusters = config["static_resources"]["clusters"]
        clusters[:] = [each for each in clusters if each["name"] not in unused]

    return remove


def two_endpoints(config: Config) -> None:
    endpoints = cluster(config, "envoy_authz")["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoints.append(deepcopy(endpoints[0]))


def two_endpoints_with_a_window(config: Config) -> None:
    two_endpoints(config)
    cluster(config, "envoy_authz")["common_lb_config"] = {"update_merge_window": "0s"}


def named_by_a_mesh(config: Config) -> None:
    name = "outbound|9191||authz.example"
    cluster(config, "envoy_authz")["name"] = name
    authz(config)["grpc_service"]["envoy_grpc"]["cluster_name"] = name


def http_1(config: Config) -> None:
    options = cluster(config, "envoy_authz")["typed_extension_protocol_options"]
    options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["explicit_http_config"] = {
        "http_protocol_options": {}
    }


def elsewhere(config: Config) -> None:
    endpoint = cluster(config, "envoy_authz")["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    endpoint["endpoint"]["address"]["socket_address"]["address"] = "authz.example.com"


def retried(config: Config) -> None:
    authz(config)["grpc_service"]["retry_policy"] = {"retry_on": "reset"}


def tried_shortly(config: Config) -> None:
    authz(config)["grpc_service"]["retry_policy"] = {
        "retry_on": "reset",
        "retry_back_off": {"base_interval": "0.005s"},
    }


def no_rate_limits(config: Config, stage: int | None = None) -> None:
    for host in manager(config)["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            limits = route["route"].pop("rate_limits", [])
            if stage is not None:
                route["route"]["rate_limits"] = [{**limit, "stage": stage} for limit in limits]


def slow_health_check(config: Config) -> None:
    cluster(config, "envoy_tap")["health_checks"][0]["interval"] = "5s"


def tcp_health_check(config: Config) -> None:
    check = cluster(config, "envoy_authz")["health_checks"][0]
    del check["grpc_health_check"]
    check["tcp_health_check"] = {}


def http_and_mtls(config: Config) -> None:
    chain = config["static_resources"]["listeners"][0]["filter_chains"][0]
    chain["transport_socket"] = MTLS


def in_camel_case(config: Config) -> None:
    authz(config).pop("failure_mode_allow")
    authz(config)["failureModeAllow"] = True


FAULTS: dict[str, tuple[str, str, Change]] = {
    "path": ("error", "path-not-normalized", without(manager, "normalize_path")),
    "slashes": ("warning", "slashes-not-merged", in_manager(merge_slashes=False)),
    "escaped": ("warning", "escaped-slashes", in_manager(path_with_escaped_slashes_action="KEEP_UNCHANGED")),
    "underscores": ("note", "underscored-headers", without(manager, "common_http_protocol_options")),
    "request id": ("note", "request-id-not-returned", in_manager(always_set_request_id_in_response=False)),
    "address": ("warning", "address-from-client", without(manager, "use_remote_address")),
    "xfcc always": (
        "error",
        "xfcc-from-anyone",
        in_manager(forward_client_cert_details="ALWAYS_FORWARD_ONLY"),
    ),
    "xfcc append": ("warning", "xfcc-from-peer", in_manager(forward_client_cert_details="APPEND_FORWARD")),
    "fails open": ("error", "authz-fails-open", in_authz(failure_mode_allow=True)),
    "status": ("note", "authz-status-on-error", without(authz, "status_on_error")),
    "api version": ("error", "authz-api-version", without(authz, "transport_api_version")),
    "not always": (
        "error",
        "authz-not-always",
        in_authz(filter_enabled={"default_value": {"numerator": 50}}),
    ),
    "no body": ("note", "authz-no-body", without(authz, "with_request_body")),
    "partial": (
        "warning",
        "authz-partial-body",
        in_authz(with_request_body={"max_request_bytes": 10, "allow_partial_message": True}),
    ),
    "joined": ("note", "authz-joined-headers", without(authz, "encode_raw_headers")),
    "peer": ("warning", "authz-no-peer-certificate", http_and_mtls),
    "no authz": ("note", "authz-missing", without_filter(EXT_AUTHZ, "envoy_authz")),
    "unwritten": ("note", "timeout-unwritten", without(ratelimit, "timeout")),
    "none": ("error", "timeout-none", authz_timeout("0s")),
    "long": ("warning", "timeout-long", in_ratelimit(timeout="2s")),
    "short": ("warning", "timeout-short", authz_timeout("0.001s")),
    "authority": ("error", "authority", named_by_a_mesh),
    "closed": ("warning", "ratelimit-fails-closed", in_ratelimit(failure_mode_deny=True)),
    "grpc callers": (
        "warning",
        "ratelimit-grpc-callers",
        without(ratelimit, "rate_limited_as_resource_exhausted"),
    ),
    "no headers": ("note", "ratelimit-no-headers", in_ratelimit(enable_x_ratelimit_headers="OFF")),
    "no descriptors": ("error", "ratelimit-no-descriptors", no_rate_limits),
    "stage": ("error", "ratelimit-stage", lambda config: no_rate_limits(config, 3)),
    "no ratelimit": ("note", "ratelimit-missing", without_filter(RATELIMIT, "envoy_ratelimit")),
    "waits": ("error", "tap-waits-at-start", without(slot, "apply_default_config_without_warming")),
    "default": (
        "error",
        "tap-no-default",
        without(slot, "default_config", "apply_default_config_without_warming"),
    ),
    "types": (
        "error",
        "tap-types",
        in_slot(type_urls=["type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap"]),
    ),
    "file": ("warning", "tap-no-ttl", in_slot(config_source={"path_config_source": {"path": "/dev/null"}})),
    "delta": (
        "error",
        "tap-api-type",
        lambda config: slot(config)["config_source"]["api_config_source"].update(api_type="DELTA_GRPC"),
    ),
    "node": ("error", "tap-node", lambda config: config.pop("node")),
    "no static cluster": (
        "error",
        "tap-cluster-not-static",
        lambda config: config["static_resources"]["clusters"].pop(),
    ),
    "no slot": ("note", "tap-missing", without_filter("envoy_tap_slot", "envoy_tap")),
    "http/2": (
        "error",
        "no-http2",
        lambda config: cluster(config, "envoy_authz").pop("typed_extension_protocol_options"),
    ),
    "http/1": ("error", "no-http2", http_1),
    "underscores with others": (
        "note",
        "underscored-headers",
        in_manager(common_http_protocol_options={"idle_timeout": "60s"}),
    ),
    "panic with others": ("note", "panic-threshold", two_endpoints_with_a_window),
    "node without cluster": ("error", "tap-node", lambda config: config["node"].pop("cluster")),
    "health": ("note", "no-health-check", lambda config: cluster(config, "envoy_tap").pop("health_checks")),
    "slow health": ("warning", "health-check-slow", slow_health_check),
    "tcp health": ("warning", "health-check-not-grpc", tcp_health_check),
    "panic": ("note", "panic-threshold", two_endpoints),
    "clear text": ("warning", "clear-text", elsewhere),
    "retries": ("note", "few-retries", retried),
    "short tries": ("warning", "tries-short", tried_shortly),
    "camel case": ("error", "authz-fails-open", in_camel_case),
}
# Changes that come with a second finding, mended by its own fragment.
ALSO = {"default": {"tap-waits-at-start"}, "short tries": {"few-retries"}}


def paste(config: Config, mend: Mend) -> None:
    fragment = YAML(typ="safe", pure=True).load(mend.text)
    assert mend.at is not None
    into = at(config, mend.at.place)
    if isinstance(fragment, list):
        # Behind the tap slot if there is one, as the words of the mend say.
        place = next((i + 1 for i, each in enumerate(into) if each["name"] == "envoy_tap_slot"), 0)
        into[place:place] = fragment
    else:
        for name, value in fragment.items():
            into.pop(camel(name), None)
            into[name] = value


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def renamed(config: Config, number: int) -> Config:
    """Return *config* with names of its own, so that many go into one bootstrap."""
    written = json.dumps(config["static_resources"])
    for name in (*SERVICE_CLUSTERS, "upstream", "outbound|9191||authz.example"):
        written = written.replace(f'"{name}"', f'"{name}_{number}"')
    resources: Config = json.loads(written)
    resources["listeners"][0]["name"] += str(number)
    resources["listeners"][0]["address"]["socket_address"]["port_value"] += number
    return resources


def mended(fault: str, folder: Path) -> tuple[list[Diagnosis], Config]:
    """Return what is found in a configuration with the *fault*, and it with all fragments pasted."""
    config = healthy()
    FAULTS[fault][-1](config)
    found = examined(config, folder)
    for each in found:
        for mend in each.mends:
            paste(config, mend)
    return found, config


def test_there_is_nothing_to_say_about_a_healthy_one(tmp_path: Path) -> None:
    assert examined(healthy(), tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_and_its_fragment_mends_it(fault: str, tmp_path: Path) -> None:
    severity, check, _change = FAULTS[fault]
    found, config = mended(fault, tmp_path)
    assert {each.check for each in found} == {check, *ALSO.get(fault, set())}
    named = next(each for each in found if each.check == check)
    assert named.severity == severity
    assert named.mends
    assert unexpected(examined(config, tmp_path)) == []


def unexpected(found: list[Diagnosis]) -> list[Diagnosis]:
    # A cluster or filter that was pasted is the least that works, without what is only a note.
    return [each for each in found if each.severity != "note"]


def test_envoy_accepts_everything_that_was_mended(processes: Processes, tmp_path: Path) -> None:
    base = healthy()
    whole = {fault: mended(fault, tmp_path)[1] for fault in FAULTS}
    for number, config in enumerate(whole.values(), 1):
        for kind, values in renamed(config, number).items():
            base["static_resources"][kind].extend(values)
    # For the secret of the one with mTLS; `ads` needs one.
    base["dynamic_resources"] = {
        "ads_config": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": "envoy_tap"}}],
        }
    }
    assert whole["node"]["node"] == base["node"]
    file = tmp_path / "all.json"
    file.write_text(json.dumps(base), "utf-8")
    exit_code, output = validate(processes, file)
    assert exit_code == 0, output
