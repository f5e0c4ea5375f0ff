"""Between JSON, requests by value and the messages of Check: for the commands that read requests or ask a service."""

from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import DecodeError

from envoy_authz.core.request import Request
from envoy_authz.wire.view import View
from envoy_sidecar.pb.authz_pb2 import AttributeContext, CheckRequest, CheckResponse

SERVICE = "envoy.service.auth.v3.Authorization"
METHOD = "Check"
_MAX_PORT = 65535


def request_from_json(text: str | bytes) -> Request:
    """Return the request in a CheckRequest in protobuf's JSON form; what no policy reads is passed over.

    Raises ValueError if it is none, or holds no HTTP request.
    """
    try:
        message = Parse(text, CheckRequest(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"this is not a CheckRequest as JSON: {error}") from None
    if not message.attributes.request.http.method:
        raise ValueError("this CheckRequest has no attributes.request.http.method")
    view = View(message.attributes)
    return Request(
        method=view.method,
        path=view.path,
        source_principal=view.source_principal,
        host=view.host,
        scheme=view.scheme,
        body=view.body,
        source_address=view.source_address,
        source_certificate=view.source_certificate,
        destination_principal=view.destination_principal,
        destination_address=view.destination_address,
        destination_port=view.destination_port,
        destination_labels=dict(view.destination_labels),
        sni=view.sni,
        context=dict(view.context),
        request_headers={name.lower(): value for name, value in view.headers().items()},
    )


def make_request(request: Request) -> bytes:
    """Return *request* as a serialized CheckRequest. Raises ValueError for what a message can't hold."""
    try:
        attributes = AttributeContext(context_extensions=request.context)
        http = attributes.request.http
        http.method, http.path, http.host, http.scheme = (
            request.method,
            request.path,
            request.host,
            request.scheme,
        )
        http.headers.update(request.request_headers)
        http.raw_body = request.body
        source, destination = attributes.source, attributes.destination
        source.principal, source.certificate = request.source_principal, request.source_certificate
        source.address.socket_address.address = request.source_address
        destination.principal = request.destination_principal
        destination.labels.update(request.destination_labels)
        destination.address.socket_address.address = request.destination_address
        if not 0 <= request.destination_port <= _MAX_PORT:
            raise ValueError(f"{request.destination_port} is not a port")
        destination.address.socket_address.port_value = request.destination_port
        if request.sni:
            attributes.tls_session.sni = request.sni
        return CheckRequest(attributes=attributes).SerializeToString()
    except (UnicodeError, TypeError) as error:
        raise ValueError(f"no message can hold this request: {error}") from None


def response_as_data(payload: bytes) -> dict[str, object]:
    """Return a serialized CheckResponse in protobuf's JSON form. Raises ValueError."""
    try:
        message = CheckResponse.FromString(payload)
    except DecodeError:
        raise ValueError("this is not a CheckResponse") from None
    data: dict[str, object] = MessageToDict(message)
    data["allowed"] = message.status.code == 0
    return data
