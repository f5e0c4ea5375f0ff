"""The clusters that lead to the services."""

from collections.abc import Iterator
from ipaddress import ip_address

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import view
from envoy_sidecar.doctor.checks import fragments
from envoy_sidecar.doctor.checks.calls import Call, calls
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend, Part, Service
from envoy_sidecar.doctor.model import Configuration

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = "http2_protocol_options"
_DRAIN_DELAY_S = 1.0
"""For so long a service that was told to stop goes on answering, `--drain-delay`."""


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at the cluster of every service, once."""
    seen = set()
    for call in calls(configuration):
        if (call.service, call.cluster) in seen or not call.cluster:
            continue
        seen.add((call.service, call.cluster))
        cluster = configuration.clusters.get(call.cluster)
        if cluster is None:
            if call.service == "tap":
                yield _not_static(call, configuration)
            elif not configuration.more_clusters:
                yield _unknown(call)
            continue
        yield from _protocol(call.service, cluster)
        yield from _health(call.service, cluster)
        yield from _clear_text(call.service, cluster)
        yield from _retries(call, cluster)


def _unknown(call: Call) -> Diagnosis:
    return Diagnosis(
        "cluster-missing",
        call.service,
        "error",
        call.grpc_service,
        f"there is no cluster {call.cluster!r}",
        "no call can be made; Envoy refuses a static one",
    )


def _not_static(call: Call, configuration: Configuration) -> Diagnosis:
    clusters = view.field(configuration.root, "static_resources", "clusters")
    return Diagnosis(
        "tap-cluster-not-static",
        "tap",
        "error",
        call.grpc_service,
        f"there is no cluster {call.cluster!r} in the bootstrap",
        "Envoy takes configuration only from a cluster in static_resources, and refuses the whole listener otherwise",
        (
            Mend(
                "static_resources.clusters of the bootstrap",
                clusters,
                [fragments.cluster("tap", call.cluster)],
            ),
        ),
    )


def _protocol(service: Service, cluster: Node) -> Iterator[Diagnosis]:
    options = view.options(view.field(cluster, "typed_extension_protocol_options"), _HTTP_OPTIONS)
    speaks = (
        view.field(cluster, _HTTP2),
        view.field(options, "explicit_http_config", _HTTP2),
        view.field(options, "use_downstream_protocol_config", _HTTP2),
        view.field(options, "auto_config"),
    )
    if not any(each is not None for each in speaks):
        message = "the cluster does not speak HTTP/2"
        why = "gRPC needs it: every call fails, and the failure mode decides"
        part = _part(service, cluster)
        mend = fragments.http2()
        if options is not None:
            part = Part(
                service,
                options,
                f"{_HTTP_OPTIONS.rpartition('.')[2]} of cluster {view.text(cluster, 'name')}",
            )
            mend = {"explicit_http_config": {_HTTP2: {}}}
        yield part.found("no-http2", "error", message, why, mend=mend)


def _health(service: Service, cluster: Node) -> Iterator[Diagnosis]:
    checks = view.items(cluster, "health_checks")
    several = len(_endpoints(cluster)) > 1
    if not checks:
        yield _part(service, cluster).found(
            "no-health-check",
            "warning" if several else "note",
            "the cluster has no health_checks",
            "Envoy learns that a replica drains or hangs from requests that fail",
            mend=fragments.health_checks(service),
        )
        return
    for each in checks:
        if view.field(each, "grpc_health_check") is None:
            yield _part(service, cluster).found(
                "health-check-not-grpc",
                "warning",
                "the health check is not a grpc_health_check",
                "the services answer grpc.health.v1 on their gRPC address, and say NOT_SERVING there when they drain",
                mend=fragments.health_checks(service),
                where=each,
            )
            continue
        time = (view.seconds(each, "interval") or 0) + (view.seconds(each, "timeout") or 0)
        if time >= _DRAIN_DELAY_S:
            yield _part(service, cluster).found(
                "health-check-slow",
                "warning",
                f"interval and timeout of the health check are {time:g} s together",
                f"a replica that stops goes on answering for {_DRAIN_DELAY_S:g} s (--drain-delay): requests after that fail",
                mend=fragments.health_checks(service),
                where=each,
            )
    if several:
        yield from _panic(service, cluster)


def _panic(service: Service, cluster: Node) -> Iterator[Diagnosis]:
    common = view.field(cluster, "common_lb_config")
    if view.field(common, "healthy_panic_threshold") is not None:
        return
    never: dict[str, object] = {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"}
    part = _part(service, cluster)
    if common is not None:
        part = Part(service, common, f"common_lb_config of cluster {view.text(cluster, 'name')}")
    yield part.found(
        "panic-threshold",
        "note",
        "healthy_panic_threshold is not set",
        "with less than half of the replicas healthy Envoy uses the others too",
        mend=never if common is not None else {"common_lb_config": never},
    )


def _clear_text(service: Service, cluster: Node) -> Iterator[Diagnosis]:
    if view.field(cluster, "transport_socket") is not None:
        return
    for address in _endpoints(cluster):
        host = view.text(address, "socket_address", "address")
        if host and not _is_loopback(host):
            yield Diagnosis(
                "clear-text",
                service,
                "warning",
                address,
                f"calls to {host} go over the network in clear text",
                "they carry what requests carry; use TLS (--tls-cert, --tls-client-ca), or a Unix socket beside Envoy",
                (Mend(f"cluster {view.text(cluster, 'name')}", cluster, _tls(host)),),
            )
            return


def _retries(call: Call, cluster: Node) -> Iterator[Diagnosis]:
    retried = view.field(call.grpc_service, "retry_policy") is not None
    if retried and not view.items(cluster, "circuit_breakers", "thresholds"):
        yield _part(call.service, cluster).found(
            "few-retries",
            "note",
            "circuit_breakers are not set, and calls are retried",
            "of its own accord Envoy retries 3 calls at a time, and fails the others",
            mend={"circuit_breakers": {"thresholds": [{"max_retries": 1024}]}},
        )


def _endpoints(cluster: Node) -> list[Node]:
    return [
        address
        for locality in view.items(cluster, "load_assignment", "endpoints")
        for endpoint in view.items(locality, "lb_endpoints")
        if (address := view.field(endpoint, "endpoint", "address")) is not None
    ]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(host: str) -> dict[str, object]:
    name = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {
        "transport_socket": {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"type.googleapis.com/{name}",
                "sni": host,
                "common_tls_context": {
                    "validation_context": {
                        "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
                        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": host}}],
                    }
                },
            },
        }
    }


def _part(service: Service, cluster: Node) -> Part:
    return Part(service, cluster, f"cluster {view.text(cluster, 'name')}")
