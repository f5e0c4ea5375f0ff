"""Asking an admin server, over TCP or a Unix socket."""

import ssl

import httpx

from envoy_sidecar.transport.address import Address

_TIMEOUT_S = 2.0
# Making the default one reads all certificate authorities, for a connection that has no TLS.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_ANY = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 -- asked for, not listened on


def get(address: Address, path: str) -> httpx.Response:
    """GET *path* (`/readyz`) from the admin server that listens on *address*; raises httpx.HTTPError in 2 s at most."""
    return _ask(address, "GET", path)


def post(address: Address, path: str, body: bytes) -> httpx.Response:
    """POST *body* to *path*, as `get` does; httpx.ConnectError says that it never arrived."""
    return _ask(address, "POST", path, body)


def _ask(address: Address, method: str, path: str, body: bytes | None = None) -> httpx.Response:
    if address.is_unix:
        transport, origin = httpx.HTTPTransport(uds=address.path, verify=_NO_TLS), "http://admin"
    else:
        host = "127.0.0.1" if address.host in _ANY else address.host
        transport, origin = httpx.HTTPTransport(verify=_NO_TLS), f"http://{Address(host, address.port)}"
    with httpx.Client(transport=transport, timeout=_TIMEOUT_S) as client:
        return client.request(method, origin + path, content=body)
