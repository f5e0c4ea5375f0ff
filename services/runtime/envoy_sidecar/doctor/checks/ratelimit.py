"""The ratelimit filter, and the routes that say what is counted."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import model, view
from envoy_sidecar.doctor.checks import fragments
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend, Part, Severity
from envoy_sidecar.doctor.model import Configuration, Manager


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at every ratelimit filter."""
    for manager in configuration.managers:
        for each in manager.filters:
            if each.type == model.RATELIMIT and each.config is not None:
                yield from _settings(manager, each.config)
                yield from _descriptors(manager, each.config)


def _settings(manager: Manager, config: Node) -> Iterator[Diagnosis]:
    service = view.field(config, "rate_limit_service")
    if service is not None and view.text(service, "transport_api_version") not in {"V3", "2"}:
        yield Diagnosis(
            "ratelimit-api-version",
            "ratelimit",
            "error",
            service,
            "transport_api_version is not V3",
            "Envoy asks by an API that ratelimit does not serve, or does not start",
            (Mend(f"rate_limit_service of {_where(manager)}", service, {"transport_api_version": "V3"}),),
        )
    if view.flag(config, "failure_mode_deny"):
        yield _part(manager, config).found(
            "ratelimit-fails-closed",
            "warning",
            "failure_mode_deny is true",
            "while ratelimit or its store is away every request is refused",
            mend={"failure_mode_deny": False},
            where=view.field(config, "failure_mode_deny"),
        )
    if not view.flag(config, "rate_limited_as_resource_exhausted"):
        yield _part(manager, config).found(
            "ratelimit-grpc-callers",
            "warning",
            "rate_limited_as_resource_exhausted is not set",
            "a gRPC caller over its limit gets UNAVAILABLE, and tries again at once",
            mend={"rate_limited_as_resource_exhausted": True},
        )
    if view.text(config, "enable_x_ratelimit_headers") in {"", "OFF", "0"}:
        yield _part(manager, config).found(
            "ratelimit-no-headers",
            "note",
            "enable_x_ratelimit_headers is off",
            "callers don't see what is left, and when more comes",
            mend={"enable_x_ratelimit_headers": "DRAFT_VERSION_03"},
        )


def _descriptors(manager: Manager, config: Node) -> Iterator[Diagnosis]:
    """Look whether any route has something to be counted, in the stage of the filter."""
    if manager.routes is None or view.items(config, "rate_limits"):
        return
    written = [limit for node in model.walk([manager.routes]) for limit in view.items(node, "rate_limits")]
    stage = view.number(config, "stage") or 0
    stages = {view.number(limit, "stage") or 0 for limit in written}
    if stage in stages:
        return
    action: dict[str, object] = {
        "actions": [{"remote_address": {}}],
        **({"stage": int(stage)} if stage else {}),
    }
    hosts = view.items(manager.routes, "virtual_hosts")
    if not written:
        name, message = "ratelimit-no-descriptors", "no route has rate_limits"
    else:
        name = "ratelimit-stage"
        message = f"the filter is of stage {stage:g}, and the routes' rate_limits of {', '.join(f'{s:g}' for s in sorted(stages))}"
    yield Diagnosis(
        name,
        "ratelimit",
        "error",
        config,
        message,
        "there is nothing to ask about, so ratelimit is never asked; one descriptor a client is the least",
        tuple(
            Mend(f"virtual host {view.text(host, 'name')}", host, {"rate_limits": [action]})
            for host in hosts[:1]
        ),
    )


def missing(configuration: Configuration, severity: Severity) -> Iterator[Diagnosis]:
    """Say that nothing asks ratelimit."""
    if configuration.managers and not any(each.first(model.RATELIMIT) for each in configuration.managers):
        manager = configuration.managers[0]
        yield Diagnosis(
            "ratelimit-missing",
            "ratelimit",
            severity,
            manager.node,
            "no listener has a ratelimit filter",
            "no request is limited",
            fragments.call("ratelimit", configuration, manager),
        )


def _where(manager: Manager) -> str:
    return manager.where("the ratelimit filter")


def _part(manager: Manager, config: Node) -> Part:
    return Part("ratelimit", config, _where(manager))
