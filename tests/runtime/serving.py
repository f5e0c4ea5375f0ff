"""A server of one echo service for the transport tests, and certificates made on the spot."""

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import TransportName, build, choose
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import Answer, Call, Failure, Peer, Service, Transport
from envoy_sidecar.transport.tls import TlsFiles

SERVICE = "test.Echo"
SAY = f"/{SERVICE}/Say"
COUNT = f"/{SERVICE}/Count"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
FAIL = b"fail:"
RAISE = b"raise"
SHORT = b"short"
NONE = b"none"


@dataclass
class Echo:
    """Answers each request with itself; its batches are recorded, and it can be held."""

    batches: list[list[Call]] = field(default_factory=list)
    entered: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    message: str = ""
    too_large: bytes | None = None

    def __post_init__(self) -> None:
        self.released.set()

    def hold(self) -> None:
        self.entered.clear()
        self.released.clear()

    def say(self, calls: Sequence[Call]) -> Sequence[Answer]:
        self.batches.append(list(calls))
        self.entered.set()
        assert self.released.wait(timeout=30)
        if any(call.payload == RAISE for call in calls):
            raise RuntimeError("asked to raise")
        if any(call.payload == SHORT for call in calls):
            return []
        if any(call.payload == NONE for call in calls):
            return cast("Sequence[Answer]", [None] * len(calls))
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> Answer:
        if call.payload.startswith(FAIL):
            code = call.payload.removeprefix(FAIL).decode()
            return Failure(grpc.StatusCode[code], self.message or f"asked for {code}")
        return call.payload

    async def count(self, requests: AsyncIterator[bytes], peer: Peer) -> AsyncGenerator[bytes, None]:
        total = 0
        async for request in requests:
            total += 1
            if request == RAISE:
                raise RuntimeError("asked to raise")
            yield f"{total}:{request.decode()}:{peer.metadata.get('x-who', '')!s}".encode()

    @property
    def service(self) -> Service:
        return Service(SERVICE, {"Say": self.say}, {"Count": self.count}, self.too_large)


@dataclass(frozen=True)
class Running:
    """A started transport with what tests touch of it."""

    echo: Echo
    health: HealthBoard
    transport: Transport
    address: Address

    @property
    def in_flight(self) -> int:
        """How many calls the grpcio transport has not finished with."""
        assert isinstance(self.transport, GrpcioTransport)
        return self.transport._quiet._in_flight

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(str(self.address))


@asynccontextmanager
async def running(
    name: TransportName, address: Address, *, tls: TlsFiles | None = None, too_large: bytes | None = None
) -> AsyncIterator[Running]:
    echo = Echo(too_large=too_large)
    health = HealthBoard([SERVICE])
    services = [echo.service]
    transport = build(choose(name, services, tls), address, services, health, tls=tls)
    bound = await transport.start()
    await health.set_serving(True)
    try:
        yield Running(echo, health, transport, bound)
    finally:
        echo.released.set()
        await transport.stop(0.0)


def unary(channel: grpc.aio.Channel, path: str = SAY) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
    """Return a unary method of raw bytes; grpcio's stubs cannot tell what a missing serializer means."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return method


def streams(channel: grpc.aio.Channel, path: str = COUNT) -> grpc.aio.StreamStreamMultiCallable[bytes, bytes]:
    """Return a bidirectional method of raw bytes."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    return method


async def until(condition: Callable[[], bool]) -> None:
    """Return once *condition* holds, of which no event tells."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- see above
            await asyncio.sleep(0.01)


async def say(channel: grpc.aio.Channel, payload: bytes, timeout_s: float = 20.0) -> bytes:
    answer: bytes = await unary(channel)(payload, timeout=timeout_s)
    return answer


async def check(channel: grpc.aio.Channel, service: str = "") -> int:
    """Return what grpc.health.v1 says; its stub's types have no methods."""
    request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
    answer = await unary(channel, "/grpc.health.v1.Health/Check")(request, timeout=20.0)
    return health_pb2.HealthCheckResponse.FromString(answer).status


async def watch(channel: grpc.aio.Channel, service: str = "") -> AsyncGenerator[int, None]:
    """Yield what grpc.health.v1 says at each change, from now on."""
    method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
        "/grpc.health.v1.Health/Watch"
    )
    call = method(health_pb2.HealthCheckRequest(service=service).SerializeToString())
    try:
        async for answer in call:
            yield health_pb2.HealthCheckResponse.FromString(answer).status
    finally:
        call.cancel()


def served_certificate(address: Address, client: tuple[Path, Path] | None = None) -> bytes:
    """Return the certificate (DER) that a new connection is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if client is not None:
        context.load_cert_chain(*client)
    with (
        socket.create_connection((address.host, address.port), timeout=20) as plain,
        context.wrap_socket(plain) as secure,
    ):
        certificate = secure.getpeercert(binary_form=True)
    assert certificate is not None
    return certificate


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _builder(name, name, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), True
        )
        return cls(key, certificate.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[bytes, bytes]:
        """Return a certificate for 127.0.0.1 and its key, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = self.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = (
            _builder(name, str(issuer), key).add_extension(names, False).sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


def write_pair(authority: Authority, name: str, folder: Path) -> TlsFiles:
    cert, key = authority.issue(name)
    files = TlsFiles(folder / "cert.pem", folder / "key.pem")
    files.cert.write_bytes(cert)
    files.key.write_bytes(key)
    return files


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=1))
    )
