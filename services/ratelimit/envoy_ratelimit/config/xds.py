"""Limits over xDS: a client of any ADS server, state of the world, that keeps the last good limits whatever comes."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from envoy_ratelimit.config import xds_wire
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.telemetry.tally import Tally

LOG = logging.getLogger(__name__)

FIRST_RETRY_S = 0.5
MAX_RETRY_S = 30.0
MAX_REFUSAL_S = 5.0
"""How long an answer waits at most that refuses again what was refused already.

go-control-plane sends an update again as soon as it is refused, and so would be refused a thousand times a second.
"""
MAX_RESPONSE_BYTES = 64 * 1024 * 1024
_MAX_ERROR_CHARACTERS = 4000
_CHANNEL = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    # Not more often: a Go server without a policy of its own ends the connection of who pings within five minutes.
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # Each attempt connects anew at once; the waiting is ours.
    ("grpc.use_local_subchannel_pool", 1),
)
Stream = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsServer:
    """Where limits come from, who asks, and how.

    `address` is HOST:PORT. TLS is used when `tls` is set or a `ca` is given; without a `ca` gRPC's own roots count.
    `cert` and `key` are for mTLS, `server_name` is what the server's certificate must say instead of HOST.
    The files are read at each connection. `headers` are sent with the stream; they may be secret.
    """

    address: str
    node_id: str = "default"
    node_metadata: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    server_name: str = ""


class XdsClient:
    """Subscribes to all limits of a server and gives each update to *apply*, in a thread, one after the other.

    What *apply* raises as InvalidConfigurationError goes back to the server as a NACK. `first` is set once an update was applied. *jitter*
    returns a factor from 0 to 1 of the wait before a retry.
    """

    def __init__(
        self,
        server: XdsServer,
        apply: Callable[[Sequence[Node]], str],
        *,
        first_retry_s: float = FIRST_RETRY_S,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._server = server
        self._apply = apply
        self._first_retry_s = first_retry_s
        self._retry_s = first_retry_s
        self._jitter = jitter
        self._refused: tuple[str, Sequence[object]] | None = None
        self._findings: tuple[str, ...] = ()
        self.refusal_wait_s = 0.0
        """How long the newest refusal waits, before jitter; 0 for the first of an update."""
        self._node = xds_wire.make_node(server.node_id, "ratelimit", server.node_metadata)
        self.first = asyncio.Event()
        self.version = ""
        self.connected = False
        self.trouble: tuple[str, ...] = ()
        """Why the newest update is refused, or why there is no connection; empty when all is well."""
        self.updates = Tally("ratelimit.config.updates", "Limits received over xDS, by result", ("result",))
        self.updates.begin([("ack",), ("nack",)])

    def describe(self) -> dict[str, object]:
        """Return the state of the subscription for `/config`."""
        return {
            "server": self._server.address,
            "node_id": self._server.node_id,
            "connected": self.connected,
            "version": self.version,
            "trouble": list(self.trouble),
        }

    async def run(self) -> None:
        """Stay subscribed, for ever; what fails is tried again after a wait that doubles up to MAX_RETRY_S."""
        while True:
            try:
                await self._subscribe()
                why = "the server ended the stream"
            except grpc.aio.AioRpcError as error:
                why = f"{error.code().name}: {error.details()}"
            except OSError as error:
                why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            except (ValueError, asyncio.InvalidStateError) as error:
                why = f"{type(error).__name__}: {error}"
            wait_s = self._retry_s * (0.5 + self._jitter() / 2)
            self._retry_s = min(self._retry_s * 2, MAX_RETRY_S)
            if self.connected or not self.trouble:
                LOG.warning("xDS %s: %s; the limits that are known serve on", self._server.address, why)
            else:
                LOG.debug("xDS %s: %s; again in %.1f s", self._server.address, why, wait_s)
            self.connected = False
            self.trouble = (f"xDS {self._server.address}: {why}",)
            await asyncio.sleep(wait_s)

    async def _subscribe(self) -> None:
        async with self._channel() as channel:
            stream: Stream = channel.stream_stream(xds_wire.METHOD)(
                metadata=tuple(self._server.headers.items())
            )
            await stream.write(xds_wire.make_request(self._node, self.version))
            reading = asyncio.create_task(_read(stream))
            try:
                while (payload := await reading) is not None:
                    reading = asyncio.create_task(_read(stream))
                    self._retry_s = self._first_retry_s
                    if not self.connected:
                        self.connected = True
                        LOG.info("xDS %s: connected", self._server.address)
                    answer = await self._answer(payload)
                    if self.refusal_wait_s:
                        wait_s = self.refusal_wait_s * (0.5 + self._jitter() / 2)
                        await asyncio.wait({reading}, timeout=wait_s)
                        if reading.done():
                            continue  # what came meanwhile is newer
                    await stream.write(answer)
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _answer(self, payload: bytes) -> bytes:
        update = xds_wire.read_update(payload)
        if self._refused == (update.version, update.resources):
            self.refusal_wait_s = min(self.refusal_wait_s * 2 or self._first_retry_s, MAX_REFUSAL_S)
            return self._nack(update, self._findings)
        self.refusal_wait_s = 0.0
        try:
            summary = await asyncio.to_thread(self._applied, update)
        except InvalidConfigurationError as error:
            return self._nack(update, self._said(update, tuple(map(str, error.findings))))
        except Exception as error:
            LOG.exception("xDS: an update failed in a way that no finding tells")
            return self._nack(
                update, self._said(update, (f"{type(error).__name__}; the service's log says more",))
            )
        self.version = update.version
        self._refused = None
        self.trouble = ()
        self.updates.add(("ack",))
        self.first.set()
        LOG.info("xDS version %r: %s", update.version, summary)
        return xds_wire.make_request(self._node, self.version, update.nonce)

    def _applied(self, update: xds_wire.Update) -> str:
        return self._apply(xds_wire.documents_of(update))

    def _said(self, update: xds_wire.Update, findings: tuple[str, ...]) -> tuple[str, ...]:
        """Say once why an update is refused, and remember it."""
        self._refused, self._findings = (update.version, update.resources), findings
        for finding in findings:
            LOG.error("%s", finding)
        LOG.error("xDS version %r: refused; the limits before it serve on", update.version)
        return findings

    def _nack(self, update: xds_wire.Update, findings: tuple[str, ...]) -> bytes:
        self.trouble = findings
        self.updates.add(("nack",))
        text = "\n".join(findings)[:_MAX_ERROR_CHARACTERS]
        return xds_wire.make_request(self._node, self.version, update.nonce, text)

    @asynccontextmanager
    async def _channel(self) -> AsyncIterator[grpc.aio.Channel]:
        server = self._server
        options = list[tuple[str, object]](_CHANNEL)
        if not (server.tls or server.ca):
            channel = grpc.aio.insecure_channel(server.address, options)
        else:
            if server.server_name:
                options.append(("grpc.ssl_target_name_override", server.server_name))
            ca, key, cert = await asyncio.to_thread(
                lambda: [path.read_bytes() if path else None for path in (server.ca, server.key, server.cert)]
            )
            credentials = grpc.ssl_channel_credentials(ca, key, cert)
            channel = grpc.aio.secure_channel(server.address, credentials, options)
        async with channel:
            yield channel


async def _read(stream: Stream) -> bytes | None:
    payload = await stream.read()
    return payload if isinstance(payload, bytes) else None  # the other is EOF
