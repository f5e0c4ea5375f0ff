"""A `RequestView` over the message: what few policies ask for is looked up when they do, and nothing is copied."""

# ruff: noqa: D102 - what each is, RequestView says

from collections.abc import Iterable, Mapping

from envoy_sidecar.pb import authz_pb2, common_pb2


class View:
    """The request in a `CheckRequest`, whose headers are in `headers` or (`encode_raw_headers`) in `header_map`."""

    __slots__ = ("_attributes", "_http", "method", "path")

    def __init__(self, attributes: authz_pb2.AttributeContext) -> None:
        http = attributes.request.http
        self._attributes = attributes
        self._http = http
        self.method = http.method
        self.path = http.path

    @property
    def source_principal(self) -> str:
        return self._attributes.source.principal

    @property
    def host(self) -> str:
        return self._http.host

    @property
    def scheme(self) -> str:
        return self._http.scheme

    @property
    def body(self) -> bytes:
        http = self._http
        return http.raw_body or http.body.encode()

    @property
    def source_address(self) -> str:
        return self._attributes.source.address.socket_address.address

    @property
    def source_certificate(self) -> str:
        return self._attributes.source.certificate

    @property
    def destination_principal(self) -> str:
        return self._attributes.destination.principal

    @property
    def destination_address(self) -> str:
        return self._attributes.destination.address.socket_address.address

    @property
    def destination_port(self) -> int:
        return self._attributes.destination.address.socket_address.port_value

    @property
    def destination_labels(self) -> Mapping[str, str]:
        return self._attributes.destination.labels

    @property
    def sni(self) -> str:
        return self._attributes.tls_session.sni

    @property
    def context(self) -> Mapping[str, str]:
        return self._attributes.context_extensions

    def header(self, name: str) -> str | None:
        value = self._http.headers.get(name)
        if value is not None or not self._http.HasField("header_map"):
            return value
        lines = [_text(line) for line in self._http.header_map.headers if line.key.lower() == name]
        return ",".join(lines) if lines else None

    def headers(self) -> Mapping[str, str]:
        found = dict(self._http.headers)
        return found | _joined(self._http.header_map.headers) if self._http.HasField("header_map") else found


def _joined(lines: Iterable[common_pb2.HeaderValue]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for line in lines:
        name, value = line.key.lower(), _text(line)
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _text(line: common_pb2.HeaderValue) -> str:
    return line.raw_value.decode(errors="replace") or line.value
