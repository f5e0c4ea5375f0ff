"""What is given to Istio, Envoy Gateway, Kuma and Consul, done to a proxy such as theirs, and driven end to end.

The control planes themselves are not here: what they make of an external authorizer is rebuilt from their documentation;
the rest is the fragments as shipped. As with a mesh, all comes by xDS but what the mesh lets one add to the bootstrap.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from envoy_demo import configs
from envoy_demo.configs import Config
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from tests.planes import driving, patching, placing
from tests.planes.ads import ControlPlane
from tests.planes.driving import Services
from tests.planes.patching import Proxy

SCHEMAS = Path(__file__).with_name("schemas")
TAP_HOST = "tap.envoy-sidecars.svc.cluster.local:9393"


def istio() -> Proxy:
    proxy = patching.such_as_meshes_make("inbound|8000||")
    (provider,) = placing.load("istio/meshconfig.yaml")["extensionProviders"]
    policy = placing.load("istio/authorizationpolicy.yaml")["spec"]
    assert (policy["action"], policy["provider"]["name"]) == ("CUSTOM", provider["name"])
    service = provider["envoyExtAuthzGrpc"]
    name = f"outbound|{service['port']}||{service['service']}"
    proxy.clusters.append(patching.cluster(name, service["port"], grpc=True))
    # Its own name would be no authority: istiod gives one.
    authority = f"outbound_.{service['port']}_._.{service['service']}"
    http_filter = patching.ext_authz(name, service["timeout"], authority, fails_open=service["failOpen"])
    proxy.before_router(http_filter)
    for file in ("istio/envoyfilter-ratelimit.yaml", "istio/envoyfilter-tap.yaml"):
        patching.istio(proxy, placing.load(file))
    return proxy


def envoy_gateway() -> Proxy:
    proxy = patching.such_as_meshes_make("httproute/edge/shop/rule/0", default_chain=True)
    security = placing.load("envoy-gateway/securitypolicy.yaml")["spec"]["extAuth"]
    (backend,) = security["grpc"]["backendRefs"]
    proxy.clusters.append(patching.cluster("securitypolicy/edge/authz", backend["port"], grpc=True))
    authority = f"{backend['name']}.{backend['namespace']}:{backend['port']}"
    proxy.before_router(
        patching.ext_authz("securitypolicy/edge/authz", "0.2s", authority, fails_open=security["failOpen"])
    )
    patching.envoy_gateway(proxy, placing.load("envoy-gateway/envoypatchpolicy.yaml"))
    bootstrap = placing.load("envoy-gateway/envoyproxy.yaml")["spec"]["bootstrap"]["value"]
    proxy.static.extend(placing.parsed(bootstrap)["static_resources"]["clusters"])
    return proxy


def kuma() -> Proxy:
    proxy = patching.such_as_meshes_make("localhost:8000")
    patching.kuma(proxy, placing.load("kuma/meshproxypatch.yaml"))
    return proxy


def consul() -> Proxy:
    proxy = Proxy({}, [patching.cluster("local_app", 8000)])
    patching.consul(proxy, placing.load("consul/proxy-defaults.yaml"))
    (extension,) = placing.load("consul/service-defaults.yaml")["spec"]["envoyExtensions"]
    assert (extension["name"], extension["required"]) == ("builtin/ext-authz", True)
    target = extension["arguments"]["config"]["grpcService"]["target"]
    port = int(target["uri"].rpartition(":")[2])
    proxy.clusters.append(patching.cluster("local_ext_authz", port, grpc=True))
    # Behind the slot, where Consul puts it among the filters of an inbound listener: in front.
    proxy.http_filters.insert(
        1, patching.ext_authz("local_ext_authz", "0.2s", "local_ext_authz", fails_open=False)
    )
    return proxy


MESHES: dict[str, tuple[Callable[[], Proxy], set[str]]] = {
    "istio": (istio, {"authz", "ratelimit", "tap"}),
    # Its limits come from itself: see the test below.
    "envoy-gateway": (envoy_gateway, {"authz", "tap"}),
    "kuma": (kuma, {"authz", "ratelimit", "tap"}),
    "consul": (consul, {"authz", "ratelimit", "tap"}),
}


@pytest.fixture
def planes() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("mesh", MESHES)
def test_the_services_have_their_say(
    mesh: str, processes: Processes, services: Services, planes: ExitStack
) -> None:
    make, present = MESHES[mesh]
    proxy = make()
    plane = planes.enter_context(ControlPlane(services.tap.port))
    ports = {**services.ports, 15006: free_port(), 20000: free_port(), 9901: placing.FREE, 18000: plane.port}
    files = {TAP_HOST: f"{LOOPBACK}:{services.tap.port}"}

    def put(value: Any) -> Any:
        return placing.placed(placing.patient(value), ports, files)

    typed = [
        {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", **each}
        for each in put(proxy.clusters)
    ]
    plane.publish(typed)
    plane.publish([put(proxy.listener)])
    bootstrap: Config = put(placing.load("ads/envoy.yaml"))
    bootstrap["static_resources"]["clusters"].extend(put(proxy.static))
    envoy = start_envoy(processes, bootstrap, [proxy.listener["name"]])
    call = driving.plain(envoy.port)
    driving.tap_has_reached(envoy)
    driving.authz_decides(call)
    driving.tap_captures(call, services)
    if "ratelimit" in present:
        driving.ratelimit_limits(call)
    assert plane.refused == []


def manifests() -> list[tuple[str, str]]:
    kinds = ("istio", "envoy-gateway", "kuma", "consul")
    return [
        (str(file.relative_to(configs.folder())), f"{folder}.json")
        for folder in kinds
        for file in sorted((configs.folder() / folder).glob("*.yaml"))
        # These two are configuration files of the control plane, and no resources with a schema.
        if file.name not in {"meshconfig.yaml", "envoygateway.yaml"}
    ]


@pytest.mark.parametrize(("file", "schema"), manifests())
def test_a_manifest_is_of_the_schema_of_its_kind(file: str, schema: str) -> None:
    manifest = placing.load(file)
    schemas = json.loads((SCHEMAS / schema).read_text("utf-8"))
    jsonschema.validate(manifest, schemas[manifest["kind"]])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**manifest, "spec": {**manifest["spec"], "typo": 1}}, schemas[manifest["kind"]])
