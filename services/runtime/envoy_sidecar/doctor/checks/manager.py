"""What authz and ratelimit are told of a request: one spelling of its path, and who sent it."""

from collections.abc import Iterator

from envoy_sidecar.doctor import model, view
from envoy_sidecar.doctor.diagnosis import Diagnosis, Part, Service
from envoy_sidecar.doctor.model import Configuration, Manager

_ESCAPED_SLASHES = frozenset(
    {"REJECT_REQUEST", "UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD", "2", "3", "4"}
)
_BELIEVES_CLIENT = frozenset({"ALWAYS_FORWARD_ONLY", "4"})
_BELIEVES_PEER = {
    "FORWARD_ONLY": "FORWARD_ONLY",
    "1": "FORWARD_ONLY",
    "APPEND_FORWARD": "APPEND_FORWARD",
    "2": "APPEND_FORWARD",
}


def check(configuration: Configuration) -> Iterator[Diagnosis]:
    """Look at every HTTP connection manager that asks authz or ratelimit."""
    for manager in configuration.managers:
        if manager.first(model.EXT_AUTHZ) is not None:
            yield from _paths(manager)
            yield from _client_certificate(manager)
            yield from _address(manager, "authz")
        elif manager.first(model.RATELIMIT) is not None:
            yield from _address(manager, "ratelimit")


def _paths(manager: Manager) -> Iterator[Diagnosis]:
    if not view.flag(manager.node, "normalize_path"):
        yield _part(manager).found(
            "path-not-normalized",
            "error",
            "normalize_path is not set",
            "/public/../admin passes a rule for /public/*, and is /admin for the upstream",
            mend={"normalize_path": True},
        )
    if not view.flag(manager.node, "merge_slashes"):
        yield _part(manager).found(
            "slashes-not-merged",
            "warning",
            "merge_slashes is not set",
            "//admin is another path than /admin for authz, and the same for many upstreams",
            mend={"merge_slashes": True},
        )
    if view.text(manager.node, "path_with_escaped_slashes_action") not in _ESCAPED_SLASHES:
        yield _part(manager).found(
            "escaped-slashes",
            "warning",
            "path_with_escaped_slashes_action leaves %2F as it is",
            "/public%2F..%2Fadmin is one segment for authz, and /admin for an upstream that decodes it",
            mend={"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"},
        )
    yield from _underscores(manager)
    if not view.flag(manager.node, "always_set_request_id_in_response"):
        yield _part(manager).found(
            "request-id-not-returned",
            "note",
            "always_set_request_id_in_response is not set",
            "whoever is refused can't name the request that the logs have",
            mend={"always_set_request_id_in_response": True},
        )


def _underscores(manager: Manager) -> Iterator[Diagnosis]:
    options = view.field(manager.node, "common_http_protocol_options")
    if view.text(options, "headers_with_underscores_action") not in {"", "ALLOW", "0"}:
        return
    reject: dict[str, object] = {"headers_with_underscores_action": "REJECT_REQUEST"}
    part = _part(manager)
    if options is not None:
        part = Part("authz", options, manager.where("common_http_protocol_options"))
    yield part.found(
        "underscored-headers",
        "note",
        "headers with an underscore are let through",
        "x_user is not x-user for authz, and is for upstreams that read headers as CGI variables",
        mend=reject if options is not None else {"common_http_protocol_options": reject},
    )


def _client_certificate(manager: Manager) -> Iterator[Diagnosis]:
    mode = view.field(manager.node, "forward_client_cert_details")
    name = view.text(mode)
    mend: dict[str, object] = {
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True},
    }
    if name in _BELIEVES_CLIENT:
        yield _part(manager).found(
            "xfcc-from-anyone",
            "error",
            "forward_client_cert_details is ALWAYS_FORWARD_ONLY",
            "a client writes x-forwarded-client-cert itself, and is who it says",
            mend=mend,
        )
    elif name in _BELIEVES_PEER:
        yield _part(manager).found(
            "xfcc-from-peer",
            "warning",
            f"forward_client_cert_details is {_BELIEVES_PEER[name]}",
            "whoever has a certificate can name others in x-forwarded-client-cert: only right behind a proxy that is trusted, "
            "and authz may use the last element only",
            mend=mend,
        )


def _address(manager: Manager, service: Service) -> Iterator[Diagnosis]:
    trusted = view.number(manager.node, "xff_num_trusted_hops") or view.items(
        manager.node, "original_ip_detection_extensions"
    )
    if not view.flag(manager.node, "use_remote_address") and not trusted:
        yield _part(manager, service).found(
            "address-from-client",
            "warning",
            "use_remote_address is not set",
            "the client's address is what it writes into x-forwarded-for; behind a proxy of yours set "
            "xff_num_trusted_hops too",
            mend={"use_remote_address": True},
        )


def _part(manager: Manager, service: Service = "authz") -> Part:
    return Part(service, manager.node, manager.where())
