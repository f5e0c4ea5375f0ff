"""The answers: one constructor for each kind, so that none is the empty `CheckResponse`, which means OK."""

import json
from collections.abc import Iterable

from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from envoy_authz.core.authentication import Authentication, Refusal
from envoy_authz.core.decision import Decision, Reason
from envoy_authz.core.mutations import Changes, is_sendable
from envoy_authz.core.policy import DenyResponse
from envoy_sidecar.pb import authz_pb2, common_pb2

REASON_HEADER = "x-envoy-authz-reason"
POLICY_HEADER = "x-envoy-authz-policy"
ID_HEADER = "x-envoy-authz-id"

_OK = 0
_PERMISSION_DENIED = 7
_UNAUTHENTICATED = 16
_UNAUTHORIZED = 401
_FORBIDDEN = 403
_STATUS = {Reason.MALFORMED_REQUEST: 400, Reason.TOO_LARGE: 413}
_NEVER_REMOVED = frozenset({"host", ":authority", ":method", ":path", ":scheme"})
_NO_CHANGES = Changes()


def allowed_response(authentication: Authentication | None = None, changes: Changes = _NO_CHANGES) -> bytes:
    """Return the answer that lets a request pass: `status` OK and an explicit `ok_response` with all changes to it.

    A header or a query parameter is either set or removed; where *changes* and *authentication* differ about one, the
    former wins.
    """
    headers = (
        {} if authentication is None else {name.lower(): value for name, value in authentication.set_headers}
    )
    headers.update(changes.set_headers)
    headers = {name: value for name, value in headers.items() if is_sendable(value)}
    unset = () if authentication is None else authentication.set_headers
    removed = [
        *(() if authentication is None else authentication.remove_headers),
        *(name for name, _value in unset),
        *changes.remove_headers,
    ]
    set_query = {name for name, _value in changes.set_query}
    stripped = () if authentication is None else authentication.remove_query_parameters
    removed_query = [
        *changes.remove_query,
        *(name for name in dict.fromkeys(stripped) if name not in set_query),
    ]
    return authz_pb2.CheckResponse(
        status=common_pb2.Status(code=_OK),
        ok_response=authz_pb2.OkHttpResponse(
            headers=[_header(name, value) for name, value in headers.items()],
            headers_to_remove=_removable(removed, headers),
            query_parameters_to_set=[
                authz_pb2.QueryParameter(key=name, value=value) for name, value in changes.set_query
            ],
            query_parameters_to_remove=dict.fromkeys(removed_query),
        ),
        dynamic_metadata=_struct(changes),
    ).SerializeToString()


def response_id(decision_id: str) -> bytes:
    """Return what is put behind the answer that lets a request pass, so that the client's response tells the id.

    A message that goes on is merged with what stands before it (https://protobuf.dev/programming-guides/encoding/).
    """
    return authz_pb2.CheckResponse(
        ok_response=authz_pb2.OkHttpResponse(response_headers_to_add=_id(decision_id))
    ).SerializeToString()


def denied_response(
    decision: Decision, *, is_grpc: bool = False, error_id: str = "", decision_id: str = ""
) -> bytes:
    """Return the answer that refuses a request: a non-OK `status` and a `denied_response` that says why.

    The HTTP status is 403, 400 for a malformed request, 413 for one too large, or the policy's own; the body is the decision's message, or
    the policy's problem details. Without them there is no content-type: Envoy writes text/plain, and makes it a
    grpc-status with a message for gRPC callers. *error_id* is what the log has of an internal error, and
    *decision_id* what the decision log has; it goes into a header.
    """
    headers = [_header(REASON_HEADER, decision.reason)]
    headers.extend(_id(decision_id or error_id))
    if decision.policy:
        headers.append(_header(POLICY_HEADER, decision.policy))
    body = _printable(f"{decision.message} (id {error_id})" if error_id else decision.message)
    status = _STATUS.get(decision.reason, _FORBIDDEN)
    response = decision.response
    if response is not None:
        status = response.status
        headers.extend(_header(name, value) for name, value in response.headers)
        body = _body(response, headers, body, is_grpc=is_grpc)
    return _denied(_PERMISSION_DENIED, status, headers, body)


def refused_response(refusal: Refusal, decision_id: str = "") -> bytes:
    """Return the answer to a request whose token was refused: 401 with `www-authenticate` (RFC 6750 section 3)."""
    headers = [
        _header("www-authenticate", refusal.www_authenticate),
        _header(REASON_HEADER, Reason.UNAUTHENTICATED),
        *_id(decision_id),
    ]
    return _denied(_UNAUTHENTICATED, _UNAUTHORIZED, headers, _printable(refusal.message))


def _id(text: str) -> list[common_pb2.HeaderValueOption]:
    return [_header(ID_HEADER, text)] if text else []


def _denied(code: int, status: int, headers: list[common_pb2.HeaderValueOption], body: str) -> bytes:
    # HttpStatus.Code is an open enum: any number may stand in it.
    http = authz_pb2.HttpStatus()
    http.MergeFromString(b"\x08" + _varint(status))
    return authz_pb2.CheckResponse(
        status=common_pb2.Status(code=code, message=body),
        denied_response=authz_pb2.DeniedHttpResponse(status=http, headers=headers, body=body),
    ).SerializeToString()


def _body(
    response: DenyResponse, headers: list[common_pb2.HeaderValueOption], message: str, *, is_grpc: bool
) -> str:
    problem = response.problem
    if is_grpc:
        # A grpc-status that is there already is not derived from the HTTP status (Envoy's local replies).
        if response.grpc_status is not None:
            headers.append(_header("grpc-status", str(response.grpc_status)))
        text = (problem.get("detail") or problem.get("title")) if problem else None
        return _printable(text) if isinstance(text, str) else message
    if problem is None:
        return message
    headers.append(_header("content-type", "application/problem+json"))
    return json.dumps({"status": response.status, **problem})


def _header(name: str, value: str) -> common_pb2.HeaderValueOption:
    # Unset, Envoy 1.37.0 took this for an append; `append` itself would win over it (envoy.config.core.v3).
    return common_pb2.HeaderValueOption(
        header=common_pb2.HeaderValue(key=name, value=value if is_sendable(value) else _printable(value)),
        append_action=common_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _removable(names: Iterable[str], kept: Iterable[str]) -> list[str]:
    """Return *names* without those that are set, since Envoy removes last, and those that it never removes."""
    never = _NEVER_REMOVED | set(kept)
    return [name for name in dict.fromkeys(map(str.lower, names)) if name not in never]


def _struct(changes: Changes) -> Struct | None:
    if not changes.metadata:
        return None
    struct = Struct()
    ParseDict(dict(changes.metadata), struct)
    return struct


def _printable(text: str) -> str:
    """Return *text* with all but printable ASCII replaced: Envoy turns an invalid header value into a 500."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)


def _varint(number: int) -> bytes:
    return bytes([number & 0x7F | 0x80, number >> 7])
