"""What is pasted where a service is not called at all: the filter or slot, and its cluster."""

from envoy_sidecar.doctor import model
from envoy_sidecar.doctor.diagnosis import Mend, Service
from envoy_sidecar.doctor.model import Configuration, Manager

_ANY = "type.googleapis.com/"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_METHODS: dict[Service, str] = {
    "authz": "envoy.service.auth.v3.Authorization",
    "ratelimit": "envoy.service.ratelimit.v3.RateLimitService",
    "tap": "envoy.service.extension.v3.ExtensionConfigDiscoveryService",
}
_PORTS: dict[Service, int] = {"authz": 9191, "ratelimit": 8081, "tap": 9393}


def health_service(service: Service) -> str:
    """Return the name under which `grpc.health.v1` knows the service."""
    return _METHODS[service]


def http2() -> dict[str, object]:
    """Return the options by which Envoy speaks HTTP/2, and so gRPC, with a cluster."""
    return {
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _ANY + _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        }
    }


def health_checks(service: Service) -> dict[str, object]:
    """Return health checks that see a draining replica before it goes."""
    check: dict[str, object] = {
        "interval": "0.5s",
        "timeout": "0.3s",
        "no_traffic_interval": "0.5s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "grpc_health_check": {"service_name": health_service(service)},
    }
    return {"health_checks": [check]}


def no_op() -> dict[str, object]:
    """Return the Lua filter without a script, for a slot that nothing was pushed into."""
    return {"@type": _ANY + model.LUA}


def grpc_source(cluster: str) -> dict[str, object]:
    """Return the source of configuration that is the service in *cluster* itself."""
    return {
        "resource_api_version": "V3",
        "api_config_source": {
            "api_type": "GRPC",
            "transport_api_version": "V3",
            "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}],
        },
    }


def slot_types() -> list[object]:
    """Return the type URLs of what the tap service may push."""
    return [_ANY + name for name in model.SLOT_TYPES]


def call(service: Service, configuration: Configuration, manager: Manager) -> tuple[Mend, ...]:
    """Return what has *manager* call a service: the entry of `http_filters`, and the cluster."""
    entry: dict[str, object] = {
        "authz": _authz_filter,
        "ratelimit": _ratelimit_filter,
        "tap": _tap_slot,
    }[service]()
    clusters = configuration.root.get("static_resources")
    return (
        Mend(
            f"{manager.where('http_filters')}, in the order tap slot, ext_authz, ratelimit, others, router",
            manager.node.get("http_filters") or manager.node.get("httpFilters"),
            [entry],
        ),
        Mend(
            "clusters",
            clusters.get("clusters") if clusters is not None else None,
            [cluster(service, f"envoy_{service}")],
        ),
    )


def _authz_filter() -> dict[str, object]:
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": _ANY + model.EXT_AUTHZ,
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "envoy_authz"}, "timeout": "0.2s"},
            "failure_mode_allow": False,
            "status_on_error": {"code": "ServiceUnavailable"},
            "encode_raw_headers": True,
        },
    }


def _ratelimit_filter() -> dict[str, object]:
    return {
        "name": "envoy.filters.http.ratelimit",
        "typed_config": {
            "@type": _ANY + model.RATELIMIT,
            "domain": "edge",
            "rate_limit_service": {
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "envoy_ratelimit"}},
            },
            "timeout": "0.02s",
            "failure_mode_deny": False,
            "rate_limited_as_resource_exhausted": True,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        },
    }


def _tap_slot() -> dict[str, object]:
    return {
        "name": "envoy_tap_slot",
        "config_discovery": {
            "config_source": grpc_source("envoy_tap"),
            "apply_default_config_without_warming": True,
            "default_config": no_op(),
            "type_urls": slot_types(),
        },
    }


def cluster(service: Service, name: str) -> dict[str, object]:
    """Return the cluster of a service beside Envoy."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": _PORTS[service]}}
    return {
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": "0.2s",
        **http2(),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
