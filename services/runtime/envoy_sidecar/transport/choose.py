"""Which transport serves, and why."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Literal, NamedTuple

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import DEFAULT_SOCKET_MODE, ListenError, Service, Transport
from envoy_sidecar.transport.tls import TlsFiles

TransportName = Literal["auto", "native", "grpcio"]


class Choice(NamedTuple):
    """The transport that serves and the reason in a few words."""

    name: Literal["native", "grpcio"]
    reason: str


def choose(asked: TransportName, services: Sequence[Service], tls: TlsFiles | None) -> Choice:
    """Decide which transport serves; ListenError if the one asked for cannot."""
    if asked == "grpcio":
        return Choice("grpcio", "asked for")
    obstacle = _native_obstacle(services, tls)
    if asked == "native":
        if obstacle is not None:
            raise ListenError(f"--transport native cannot serve this: {obstacle}; use auto or grpcio")
        return Choice("native", "asked for")
    if obstacle is not None:
        return Choice("grpcio", obstacle)
    return Choice("native", "plaintext unary calls, the fastest way")


def _native_obstacle(services: Sequence[Service], tls: TlsFiles | None) -> str | None:
    if tls is not None:
        return "TLS is only in grpcio"
    if not any(service.unary for service in services):
        return "all methods stream, which only grpcio does"
    if find_spec("pygrpc_native") is None:
        return "the pygrpc-native wheel is not installed"
    return None


def build(
    choice: Choice,
    address: Address,
    services: Sequence[Service],
    health: HealthBoard,
    *,
    tls: TlsFiles | None = None,
    reuse_port: bool = False,
    socket_mode: int = DEFAULT_SOCKET_MODE,
) -> Transport:
    """Return the chosen transport, not yet started; a Unix socket gets *socket_mode*."""
    if choice.name == "grpcio":
        return GrpcioTransport(
            address, services, health, tls=tls, reuse_port=reuse_port, socket_mode=socket_mode
        )
    from envoy_sidecar.transport.native import NativeTransport  # noqa: PLC0415 -- the wheel may be missing

    return NativeTransport(address, services, health, reuse_port=reuse_port, socket_mode=socket_mode)
