"""The tap service in this process, on a free port."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import Service


@dataclass(frozen=True)
class Served:
    """A started transport's address."""

    address: Address

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(str(self.address))


@asynccontextmanager
async def served(*services: Service) -> AsyncIterator[Served]:
    health = HealthBoard([service.name for service in services])
    transport = GrpcioTransport(Address("127.0.0.1", 0), services, health)
    bound = await transport.start()
    try:
        yield Served(bound)
    finally:
        await transport.stop(0.0)
