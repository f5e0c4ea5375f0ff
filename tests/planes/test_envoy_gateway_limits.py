"""BackendTrafficPolicy with our ratelimit in place of Envoy Gateway's own: by its environment, and limits by its xDS."""

from collections.abc import Iterator

import pytest
from envoy_data_plane.google.protobuf import Any as EnvoyAny

from envoy_demo.client import Request, answers_ok
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.services import Service
from envoy_demo.valkey import start_valkey
from envoy_ratelimit.config.xds_wire import TYPE_URL
from envoy_sidecar.pb.ratelimit_config_pb2 import RateLimitConfig
from tests.planes import driving, patching, placing
from tests.planes.ads import ControlPlane
from tests.planes.driving import RATELIMIT, UPSTREAM, Services

LISTENER = "edge/edge/http"
ROUTE = "httproute/edge/shop/rule/0"
MATCH = "rule-0-match-0"


def limits_of(policy: dict[str, object]) -> RateLimitConfig:
    """Return what Envoy Gateway makes of the policy's one rule, for its ratelimit service."""
    (rule,) = placing.at(policy, "spec", "rateLimit", "global", "rules")
    config = RateLimitConfig(name=LISTENER, domain=LISTENER)
    limit = config.descriptors.add(key=ROUTE, value=ROUTE).descriptors.add(key=MATCH).rate_limit
    limit.requests_per_unit = rule["limit"]["requests"]
    limit.unit = rule["limit"]["unit"].upper()
    return config


@pytest.fixture
def plane(services: Services) -> Iterator[ControlPlane]:
    with ControlPlane(services.tap.port) as started:
        yield started


def start_as_envoy_gateway_does(processes: Processes, plane: ControlPlane, redis: str) -> Service:
    """Start the image's command with the environment of Envoy Gateway's ratelimit Deployment, without its TLS."""
    manifest = placing.load("envoy-gateway/envoygateway.yaml")
    deployment = manifest["provider"]["kubernetes"]["rateLimitDeployment"]
    (container,) = placing.at(deployment, "patch", "value", "spec", "template", "spec", "containers")
    assert container["command"] == ["envoy-ratelimit", "serve"]
    port, admin = free_port(), free_port()
    environment = {
        "CONFIG_TYPE": "GRPC_XDS_SOTW",
        "CONFIG_GRPC_XDS_SERVER_URL": f"{LOOPBACK}:{plane.port}",
        "CONFIG_GRPC_XDS_NODE_ID": "envoy-ratelimit",
        "FORCE_START_WITHOUT_INITIAL_CONFIG": "true",
        "USE_STATSD": "false",
        "LOG_LEVEL": "info",
        "RUNTIME_ROOT": "/data",
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": redis,
        # Not Envoy Gateway's: other ports than 8081 and 8080.
        "RATELIMIT_LISTEN": f"{LOOPBACK}:{port}",
        "RATELIMIT_ADMIN": f"{LOOPBACK}:{admin}",
    }
    process = processes.start("ratelimit", placing.installed(container["command"]), environment)
    process.until(lambda: answers_ok(admin, "/readyz"), "readiness")
    return Service(process, port, admin)


def test_its_limits_hold(processes: Processes, services: Services, plane: ControlPlane) -> None:
    policy = placing.load("envoy-gateway/backendtrafficpolicy.yaml")
    packed = EnvoyAny(type_url=TYPE_URL, value=limits_of(policy).SerializeToString())
    plane.publish_packed({TYPE_URL: {LISTENER: packed}})
    valkey = start_valkey(processes)
    ratelimit = start_as_envoy_gateway_does(processes, plane, f"{LOOPBACK}:{valkey.port}")
    proxy = patching.such_as_meshes_make("httproute/edge/shop/rule/0", default_chain=True)
    proxy.clusters.append(patching.cluster("ratelimit_cluster", RATELIMIT, grpc=True))
    proxy.before_router(patching.ratelimit("ratelimit_cluster", LISTENER))
    generic = {"generic_key": {"descriptor_key": ROUTE, "descriptor_value": ROUTE}}
    by_user = {"request_headers": {"header_name": "x-user", "descriptor_key": MATCH}}
    proxy.of_all_hosts({"rate_limits": [{"actions": [generic, by_user]}]})
    del proxy.listener["@type"]  # here it is static
    ratelimit.process.until_logged("limits: 1, domains: 1")
    ports = {UPSTREAM: services.upstream.port, RATELIMIT: ratelimit.port, 15006: placing.FREE}
    config = placing.bootstrap(*placing.placed(placing.patient([[proxy.listener], proxy.clusters]), ports))
    envoy = start_envoy(processes, config)
    driving.ratelimit_limits(driving.plain(envoy.port))
    assert driving.plain(envoy.port)(Request("GET", "/orders")).status == 200
