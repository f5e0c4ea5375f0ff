"""Certificates for an edge and for workloads, and a client that speaks TLS to a name on loopback."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from envoy_demo.client import Request, Response
from envoy_demo.ports import LOOPBACK
from tests.authz.tokens.certificates import certificate, pem


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority."""

    made: x509.Certificate
    key: Any

    @classmethod
    def new(cls) -> "Authority":
        return cls(*certificate(ca=True, common_name="authority"))

    def write(
        self, folder: Path, *names: x509.GeneralName, chain: str, key: str, bundle: str = "bundle.pem"
    ) -> None:
        """Write a certificate for *names*, its key, and this authority's own certificate into *folder*."""
        made, private = certificate(*names, issuer=(self.made, self.key))
        folder.mkdir(exist_ok=True)
        (folder / chain).write_text(pem(made))
        (folder / key).write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        (folder / bundle).write_text(pem(self.made))

    def client(self, identity: Path | None = None) -> ssl.SSLContext:
        """Return what a client trusts this authority by, and shows the certificate in the folder *identity* with."""
        context = ssl.create_default_context(cadata=pem(self.made))
        if identity is not None:
            context.load_cert_chain(identity / "svid.pem", identity / "svid.key")
        return context


def send(port: int, context: ssl.SSLContext, host: str, request: Request) -> Response:
    """Send *request* to a loopback *port* over TLS, for the virtual host *host*."""
    connection = HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        plain = socket.create_connection((LOOPBACK, port), timeout=10)
        connection.sock = context.wrap_socket(plain, server_hostname=host)
        headers: Mapping[str, str] = {"host": host, **request.headers}
        connection.request(request.method, request.path, request.body or None, dict(headers))
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Response(answer.status, named, answer.read())
    finally:
        connection.close()
