"""What a policy of our own apiVersion says beside Istio's: its mode, its answer to a denial, its changes to a request."""

from collections.abc import Callable, Mapping
from http import HTTPStatus

import grpc

from envoy_authz.config.strings import check_header_name
from envoy_authz.core.attributes import parse_key
from envoy_authz.core.mutations import is_sendable
from envoy_authz.core.policy import Action, DenyResponse, Mutation, Setting
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.strict import Problem, Reader

Check = Callable[[str], Problem | None]

_GRPC: Mapping[str, int] = {
    code.name: code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK
}
_PROBLEM = ("type", "title", "detail", "instance")
_MUTATIONS = ("setHeaders", "removeHeaders", "setQuery", "removeQuery", "metadata")
# Envoy and we write these ourselves.
_ANSWER_HEADERS = frozenset({"content-type", "grpc-status", "grpc-message", "www-authenticate"})


def read_mode(node: Node | None, reader: Reader) -> bool:
    """Read `mode`; return whether it is SHADOW: evaluated, counted and never enforced."""
    if node is None:
        return False
    text = reader.text(node)
    if text not in {"ENFORCE", "SHADOW"} and isinstance(node.scalar, str):
        reader.report(node, f"unknown mode {text!r}", "write ENFORCE or SHADOW")
    return text == "SHADOW"


def read_deny_response(node: Node | None, action: Action, reader: Reader) -> DenyResponse | None:
    """Read `denyResponse`, which only a DENY policy may have."""
    if node is None:
        return None
    if action is not Action.DENY:
        reader.report(
            node, f"an {action.value} policy denies nothing", "remove it, or move it to a DENY policy"
        )
    fields = reader.fields(node, ("status", "headers", "problem", "grpcStatus"))
    status = fields.get("status")
    number = 403 if status is None else reader.whole(status, 599)
    if status is not None and number < HTTPStatus.BAD_REQUEST:
        reader.report(status, f"{number} is not an error", "write an HTTP status from 400 to 599")
    return DenyResponse(
        number,
        tuple(
            (setting.name, setting.value)
            for setting in _settings(fields.get("headers"), reader, _check_answer_header, literal=True)
        ),
        _problem(fields.get("problem"), reader),
        _grpc_status(fields.get("grpcStatus"), reader),
    )


def read_mutation(node: Node | None, action: Action, reader: Reader) -> Mutation | None:
    """Read `allowMutations`, which only an ALLOW policy may have."""
    if node is None:
        return None
    if action is not Action.ALLOW:
        reader.report(
            node, f"a {action.value} policy allows nothing", "remove it, or move it to an ALLOW policy"
        )
    fields = reader.fields(node, _MUTATIONS)
    mutation = Mutation(
        _settings(fields.get("setHeaders"), reader, check_header_name),
        reader.strings(fields.get("removeHeaders"), check_header_name),
        _settings(fields.get("setQuery"), reader, _any),
        reader.strings(fields.get("removeQuery"), _any),
        _settings(fields.get("metadata"), reader, _any),
    )
    for key, names, removed in (
        ("removeHeaders", mutation.set_headers, mutation.remove_headers),
        ("removeQuery", mutation.set_query, mutation.remove_query),
    ):
        both = {setting.name.lower() for setting in names} & {name.lower() for name in removed}
        if both:
            what = ", ".join(sorted(both))
            reader.report(fields[key], f"{what} is set as well", "what is set and absent is removed anyway")
    return mutation


def _settings(
    node: Node | None, reader: Reader, check: Check, *, literal: bool = False
) -> tuple[Setting, ...]:
    settings = []
    for item in reader.some_items(node, "remove it") if node is not None else ():
        fields = reader.fields(item, ("name", "value") if literal else ("name", "value", "from"))
        name, value, source = fields.get("name"), fields.get("value"), fields.get("from")
        if item.mapping is None:
            continue
        if name is None:
            reader.report(item, "has no name", "write what is set")
            continue
        if (value is None) is (source is None):
            hint = "write a value" if literal else "write either `value` or `from`"
            reader.report(item, "says not what to set it to", hint)
            continue
        settings.append(
            Setting(
                reader.checked(name, check),
                reader.checked(value, _check_value) if value is not None else "",
                reader.checked(source, _check_source) if source is not None else "",
            )
        )
    return tuple(settings)


def _problem(node: Node | None, reader: Reader) -> Mapping[str, object] | None:
    if node is None:
        return None
    if node.mapping is None:
        reader.report(node, f"must be a mapping, is {node.kind}", "write problem details (RFC 9457)")
        return None
    fields = reader.fields(node, node.mapping)
    for key in _PROBLEM:
        if key in fields:
            reader.text(fields[key])
    if "status" in fields:
        reader.report(fields["status"], "is set from `status` above", "remove it")
    return {key: value.plain() for key, value in fields.items()}


def _grpc_status(node: Node | None, reader: Reader) -> int | None:
    if node is None:
        return None
    name = reader.text(node)
    if name not in _GRPC and isinstance(node.scalar, str):
        reader.report(node, f"{name!r} is not a gRPC status", f"write one of {', '.join(_GRPC)}")
    return _GRPC.get(name)


def _any(_text: str) -> Problem | None:
    return None


def _check_value(text: str) -> Problem | None:
    if is_sendable(text):
        return None
    return f"{text[:40]!r} can't stand in a header", "write one line without control characters"


def _check_source(text: str) -> Problem | None:
    try:
        parse_key(text)
    except ValueError as error:
        return str(error), "write a key as in `when`, such as request.auth.claims[sub]"
    return None


def _check_answer_header(text: str) -> Problem | None:
    if text.lower() in _ANSWER_HEADERS:
        return f"{text!r} is set by `problem`, `grpcStatus` or Envoy", "remove it"
    return check_header_name(text)
