"""What the meshes do with their resources, done to a proxy such as they configure: filters, clusters and routes are added.

It follows their documentation, for the operations that `envoy-configs/` uses; anything else raises.
"""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML

from envoy_demo.configs import Config

ROUTER = "envoy.filters.http.router"
_ROUTER: Config = {
    "name": ROUTER,
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
_MANAGER = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
)


@dataclass
class Proxy:
    """The configuration of a proxy: *static* clusters are in its bootstrap, all else comes from the control plane."""

    listener: Config
    clusters: list[Config]
    static: list[Config] = field(default_factory=list)

    @property
    def manager(self) -> Config:
        chains = self.listener.get("filter_chains") or [self.listener["default_filter_chain"]]
        found: Config = chains[0]["filters"][0]["typed_config"]
        return found

    @property
    def http_filters(self) -> list[Config]:
        found: list[Config] = self.manager["http_filters"]
        return found

    def before_router(self, http_filter: Config) -> None:
        names = [each["name"] for each in self.http_filters]
        self.http_filters.insert(names.index(ROUTER), http_filter)

    def of_all_hosts(self, fields: Config) -> None:
        for host in self.manager["route_config"]["virtual_hosts"]:
            host.update(fields)


def such_as_meshes_make(application: str, *, default_chain: bool = False) -> Proxy:
    """Return a proxy with an inbound listener to the cluster *application*, before anything is added."""
    manager: Config = {
        "@type": _MANAGER,
        "stat_prefix": "ingress",
        "use_remote_address": True,
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT",
        "always_set_request_id_in_response": True,
        "route_config": {
            "name": "inbound",
            "virtual_hosts": [
                {
                    "name": "inbound|http|8000",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": application}}],
                }
            ],
        },
        "http_filters": [deepcopy(_ROUTER)],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "ingress",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": 15006}},  # noqa: S104 - placed on loopback
        **({"default_filter_chain": chain} if default_chain else {"filter_chains": [chain]}),
    }
    return Proxy(listener, [cluster(application, 8000)])


def cluster(name: str, port: int, *, grpc: bool = False) -> Config:
    """Return a cluster such as a control plane makes of a service."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2: Config = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        **({"typed_extension_protocol_options": {options: http2}} if grpc else {}),
    }


def istio(proxy: Proxy, envoy_filter: Config) -> None:
    """Apply an EnvoyFilter."""
    for each in envoy_filter["spec"]["configPatches"]:
        operation, value = each["patch"]["operation"], each["patch"]["value"]
        apply: Mapping[tuple[str, str], Callable[[Any], None]] = {
            ("CLUSTER", "ADD"): proxy.clusters.append,
            ("BOOTSTRAP", "MERGE"): lambda value: proxy.static.extend(value["static_resources"]["clusters"]),
            ("HTTP_FILTER", "INSERT_BEFORE"): proxy.before_router,
            ("HTTP_FILTER", "INSERT_FIRST"): lambda value: proxy.http_filters.insert(0, value),
            ("VIRTUAL_HOST", "MERGE"): proxy.of_all_hosts,
        }
        apply[each["applyTo"], operation](value)


def kuma(proxy: Proxy, policy: Config) -> None:
    """Apply a MeshProxyPatch, whose values are text."""
    apply: Mapping[tuple[str, str], Callable[[Any], None]] = {
        ("cluster", "Add"): proxy.clusters.append,
        ("httpFilter", "AddBefore"): proxy.before_router,
        ("httpFilter", "AddFirst"): lambda value: proxy.http_filters.insert(0, value),
        ("virtualHost", "Patch"): proxy.of_all_hosts,
    }
    for each in policy["spec"]["default"]["appendModifications"]:
        ((kind, modification),) = each.items()
        apply[kind, modification["operation"]](YAML(typ="safe", pure=True).load(modification["value"]))


def envoy_gateway(proxy: Proxy, policy: Config) -> None:
    """Apply the additions to the listener in an EnvoyPatchPolicy (RFC 6902)."""
    for each in policy["spec"]["jsonPatches"]:
        operation = each["operation"]
        *path, last = operation["path"].removeprefix("/").split("/")
        into: Any = proxy.listener
        for key in path:
            into = into[int(key)] if isinstance(into, list) else into[key]
        if operation["op"] != "add" or not isinstance(into, list):
            raise ValueError(f"{operation['op']} at {operation['path']} is not done here")
        into.insert(int(last), operation["value"])


def consul(proxy: Proxy, proxy_defaults: Config) -> None:
    """Take the public listener and the static clusters of a ProxyDefaults, whose values are JSON."""
    config = proxy_defaults["spec"]["config"]
    proxy.listener = json.loads(config["envoy_public_listener_json"])
    proxy.static.extend(json.loads(f"[{config['envoy_extra_static_clusters_json']}]"))


def ext_authz(cluster_name: str, timeout: str, authority: str, *, fails_open: bool) -> Config:
    """Return the filter that control planes make of what they call an external authorizer."""
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "grpc_service": {
                "envoy_grpc": {"cluster_name": cluster_name, "authority": authority},
                "timeout": timeout,
            },
            "failure_mode_allow": fails_open,
        },
    }


def ratelimit(cluster_name: str, domain: str) -> Config:
    """Return the filter that control planes make of a global rate limit."""
    return {
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit",
            "domain": domain,
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": cluster_name}},
            },
        },
    }
