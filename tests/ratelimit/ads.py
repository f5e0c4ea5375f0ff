"""A minimal ADS server: state of the world, real gRPC, and it remembers what clients say."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import grpc
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.protobuf import Any as EnvoyAny

from envoy_ratelimit.config.xds_wire import METHOD, TYPE_URL
from envoy_sidecar.pb.ratelimit_config_pb2 import RateLimitConfig

SERVICE, _, STREAM = METHOD.removeprefix("/").partition("/")


@dataclass
class AdsServer:
    """Sends each update to all streams, and the newest one to a new stream."""

    port: int = 0
    requests: asyncio.Queue[DiscoveryRequest] = field(default_factory=asyncio.Queue)
    metadata: list[dict[str, str | bytes]] = field(default_factory=list)
    _newest: DiscoveryResponse | None = None
    _streams: list[asyncio.Queue[DiscoveryResponse | None]] = field(default_factory=list)
    _count: int = 0

    def publish(self, *configs: RateLimitConfig, type_url: str = TYPE_URL, raw: Sequence[bytes] = ()) -> None:
        self._count += 1
        values = [*(config.SerializeToString() for config in configs), *raw]
        self._newest = DiscoveryResponse(
            version_info=f"v{self._count}",
            resources=[EnvoyAny(type_url=type_url, value=value) for value in values],
            type_url=TYPE_URL,
            nonce=f"n{self._count}",
        )
        for stream in self._streams:
            stream.put_nowait(self._newest)

    def again(self) -> None:
        """Send the newest update once more, as go-control-plane does when it was refused."""
        assert self._newest is not None
        self._count += 1
        self._newest = replace(self._newest, nonce=f"n{self._count}")
        for stream in self._streams:
            stream.put_nowait(self._newest)

    def hang_up(self) -> None:
        for stream in self._streams:
            stream.put_nowait(None)

    async def heard(self) -> DiscoveryRequest:
        return await asyncio.wait_for(self.requests.get(), 10)

    async def serve_stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        self.metadata.append({str(key): value for key, value in context.invocation_metadata() or ()})
        updates: asyncio.Queue[DiscoveryResponse | None] = asyncio.Queue()

        async def listen() -> None:
            async for payload in requests:
                self.requests.put_nowait(DiscoveryRequest.parse(payload))

        listening = asyncio.create_task(listen())
        if self._newest is not None:
            updates.put_nowait(self._newest)
        self._streams.append(updates)
        try:
            while (update := await updates.get()) is not None:
                yield bytes(update)
        finally:
            self._streams.remove(updates)
            listening.cancel()


@asynccontextmanager
async def ads_server(
    port: int = 0, credentials: grpc.ServerCredentials | None = None, ads: AdsServer | None = None
) -> AsyncIterator[AdsServer]:
    """Serve on *port* (0: a free one), by TLS with *credentials*; *ads* is what an earlier one knew."""
    ads = ads or AdsServer()
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(ads.serve_stream)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {STREAM: handler}),))
    address = f"127.0.0.1:{port}"
    ads.port = (
        server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    )
    await server.start()
    try:
        yield ads
    finally:
        await server.stop(None)


def limits(
    domain: str, requests: int, *, name: str = "", key: str = "user", unit: str = "DAY"
) -> RateLimitConfig:
    config = RateLimitConfig(name=name or domain, domain=domain)
    policy = config.descriptors.add(key=key).rate_limit
    policy.requests_per_unit = requests
    policy.unit = unit  # type: ignore[assignment] # protobuf takes an enum's name
    return config
