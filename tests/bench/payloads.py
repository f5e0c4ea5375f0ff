"""The messages that are sent: what Envoy sends for an ordinary browser's request."""

from collections.abc import Sequence

from envoy_sidecar.pb import authz_pb2, common_pb2, ratelimit_pb2, tap_pb2

_PREFIX_BYTES = 5
_HEADERS = {
    ":authority": "shop.example",
    ":method": "GET",
    ":path": "/orders/42",
    ":scheme": "https",
    "accept": "application/json, text/plain, */*",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.9",
    "authorization": "Bearer " + "x" * 700,
    "cookie": "session=" + "y" * 64,
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0",
    "x-envoy-internal": "true",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-proto": "https",
    "x-request-id": "6f8e0ad4-6c5e-4a4c-9a57-6d7f4d5a1b2c",
}


def check_request(token: str = "x" * 700) -> bytes:
    """Return a CheckRequest for GET /orders/42, with the headers of a browser and *token*."""
    http = authz_pb2.AttributeContext.HttpRequest(
        id="1234567890", method="GET", path="/orders/42", host="shop.example", scheme="https",
        protocol="HTTP/2", size=-1, headers=_HEADERS | {"authorization": f"Bearer {token}"},
    )  # fmt: skip
    attributes = authz_pb2.AttributeContext(request=authz_pb2.AttributeContext.Request(http=http))
    attributes.source.principal = "spiffe://shop.example/ns/web/sa/frontend"
    attributes.destination.principal = "spiffe://shop.example/ns/demo/sa/orders"
    return authz_pb2.CheckRequest(attributes=attributes).SerializeToString()


def rate_limit_request(width: str) -> bytes:
    """Return a RateLimitRequest of two descriptors, for the limits in limits.yaml that begin with *width*."""
    entries = ((f"{width}_user", "alice"), (f"{width}_address", "10.0.0.1"))
    entry = ratelimit_pb2.RateLimitDescriptor.Entry
    return ratelimit_pb2.RateLimitRequest(
        domain="bench",
        descriptors=[
            ratelimit_pb2.RateLimitDescriptor(entries=[entry(key=key, value=value)]) for key, value in entries
        ],
    ).SerializeToString()


def tap_stream() -> list[bytes]:
    """Return the messages of one StreamTaps call: a whole exchange with two bodies of 1 KiB."""
    headers = [common_pb2.HeaderValue(key=key, value=value) for key, value in _HEADERS.items()]
    half = tap_pb2.HttpBufferedTrace.Message(headers=headers, body=tap_pb2.Body(as_bytes=b"b" * 1024))
    trace = tap_pb2.TraceWrapper(http_buffered_trace=tap_pb2.HttpBufferedTrace(request=half, response=half))
    message = tap_pb2.StreamTapsRequest(trace_id=7, trace=trace)
    message.identifier.tap_id = "bench"
    message.identifier.node.id = "bench"
    return [message.SerializeToString()]


def taps() -> bytes:
    """Return a TakeTapsRequest: what `tap_stream` says, in one message."""
    return tap_pb2.TakeTapsRequest(messages=tap_stream()).SerializeToString()


def unframed(body: bytes) -> Sequence[bytes]:
    """Return the messages of a body that `framed` made."""
    messages: list[bytes] = []
    while body:
        end = _PREFIX_BYTES + int.from_bytes(body[1:_PREFIX_BYTES])
        messages.append(body[_PREFIX_BYTES:end])
        body = body[end:]
    return messages
