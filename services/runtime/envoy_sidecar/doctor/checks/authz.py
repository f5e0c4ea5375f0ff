"""The ext_authz filter."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.doctor import model, view
from envoy_sidecar.doctor.checks import fragments
from envoy_sidecar.doctor.diagnosis import Diagnosis, Mend, Part, Severity
from envoy_sidecar.doctor.model import Configuration, HttpFilter, Manager

_PER_ROUTE = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
_DENOMINATORS = {"": 100, "HUNDRED": 100, "TEN_THOUSAND": 10_000, "MILLION": 1_000_000}


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at every ext_authz filter, and at the routes that leave it out."""
    for manager in configuration.managers:
        for each in manager.filters:
            if each.type == model.EXT_AUTHZ and each.config is not None:
                yield from _api(manager, each.config)
                yield from _failure(manager, each.config)
                yield from _what_it_sees(manager, each.config)
                yield from _left_out(manager, each)


def _api(manager: Manager, config: Node) -> Iterator[Diagnosis]:
    http = view.field(config, "http_service")
    if http is not None:
        call: dict[str, object] = {"envoy_grpc": {"cluster_name": "envoy_authz"}, "timeout": "0.2s"}
        yield Diagnosis(
            "authz-over-http",
            "authz",
            "error",
            http,
            "http_service is set",
            "authz speaks gRPC only, so no check comes through; put grpc_service in its place",
            (Mend(f"{_where(manager)}, without http_service", None, {"grpc_service": call}),),
        )
    if view.text(config, "transport_api_version") not in {"V3", "2"}:
        message = "transport_api_version is not V3"
        why = "Envoy asks by an API that authz does not serve, or does not start"
        yield _part(manager, config).found(
            "authz-api-version", "error", message, why, mend={"transport_api_version": "V3"}
        )


def _failure(manager: Manager, config: Node) -> Iterator[Diagnosis]:
    if view.flag(config, "failure_mode_allow"):
        yield _part(manager, config).found(
            "authz-fails-open",
            "error",
            "failure_mode_allow is true",
            "whoever can slow authz down, or crash it, is let through without a check",
            mend={"failure_mode_allow": False},
            where=view.field(config, "failure_mode_allow"),
        )
    elif view.field(config, "status_on_error") is None:
        yield _part(manager, config).found(
            "authz-status-on-error",
            "note",
            "status_on_error is not set",
            "with authz away the client gets 403, as if it had been denied; a 503 tells the two apart",
            mend={"status_on_error": {"code": "ServiceUnavailable"}},
        )
    enabled = view.field(config, "filter_enabled", "default_value")
    numerator = view.number(enabled, "numerator") or 0
    if enabled is not None and numerator < _DENOMINATORS.get(view.text(enabled, "denominator"), 100):
        fraction: dict[str, object] = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
        yield _part(manager, config).found(
            "authz-not-always",
            "error",
            "filter_enabled is below 100%",
            "the rest of the requests passes without a check",
            mend={"filter_enabled": fraction},
            where=enabled,
        )


def _what_it_sees(manager: Manager, config: Node) -> Iterator[Diagnosis]:
    body = view.field(config, "with_request_body")
    if body is None:
        yield _part(manager, config).found(
            "authz-no-body",
            "note",
            "with_request_body is not set",
            "a policy that reads the body has none to read, and denies",
            mend={
                "with_request_body": {
                    "max_request_bytes": 8192,
                    "allow_partial_message": False,
                    "pack_as_bytes": True,
                }
            },
        )
    elif view.flag(body, "allow_partial_message"):
        yield Diagnosis(
            "authz-partial-body",
            "authz",
            "warning",
            body,
            "allow_partial_message is true",
            f"a policy on the body sees the first {view.text(body, 'max_request_bytes')} bytes; what stands behind them "
            "passes unseen. Without it Envoy answers 413",
            (Mend(f"with_request_body of {_where(manager)}", body, {"allow_partial_message": False}),),
        )
    if not view.flag(config, "encode_raw_headers"):
        yield _part(manager, config).found(
            "authz-joined-headers",
            "note",
            "encode_raw_headers is not set",
            "a header that comes twice reaches authz as one value with a comma, and bytes that are not UTF-8 as `!`",
            mend={"encode_raw_headers": True},
        )
    if manager.wants_client_certificates and not view.flag(config, "include_peer_certificate"):
        yield _part(manager, config).found(
            "authz-no-peer-certificate",
            "warning",
            "the listener asks for client certificates, and include_peer_certificate is not set",
            "authz sees one name of the certificate only, and can't tell that it is the only one (SPIFFE demands it)",
            mend={"include_peer_certificate": True},
        )


def _left_out(manager: Manager, each: HttpFilter) -> Iterator[Diagnosis]:
    for node in model.walk([] if manager.routes is None else [manager.routes]):
        per_route = view.typed(view.options(view.field(node, "typed_per_filter_config"), each.name))
        if per_route is None or per_route.name != _PER_ROUTE or not view.flag(per_route.node, "disabled"):
            continue
        yield Diagnosis(
            "authz-route-left-out",
            "authz",
            "warning",
            per_route.node,
            f"{view.text(node, 'name') or 'a route'} is not checked (disabled: true)",
            "what it matches is open to anyone; a policy that allows it says so where policies are read",
        )
    ratelimit = manager.first(model.RATELIMIT)
    if ratelimit is not None and manager.is_before(ratelimit, each):
        yield Diagnosis(
            "authz-after-ratelimit",
            "authz",
            "note",
            ratelimit.entry,
            "ratelimit is asked before authz",
            "what authz refuses is counted too: with a limit by user, others can use up what a user has. "
            "Move ext_authz in front of it",
        )


def missing(configuration: Configuration, severity: Severity) -> Iterator[Diagnosis]:
    """Say that nothing asks authz."""
    if configuration.managers and not any(each.first(model.EXT_AUTHZ) for each in configuration.managers):
        manager = configuration.managers[0]
        yield Diagnosis(
            "authz-missing",
            "authz",
            severity,
            manager.node,
            "no listener has an ext_authz filter",
            "every request passes without a check",
            fragments.call("authz", configuration, manager),
        )


def _where(manager: Manager) -> str:
    return manager.where("the ext_authz filter")


def _part(manager: Manager, config: Node) -> Part:
    return Part("authz", config, _where(manager))
