"""The standard health service (grpc.health.v1) over the state that the lifecycle sets."""

from collections.abc import Iterable

from grpc_health.v1 import health, health_pb2


class HealthBoard:
    """Which services are SERVING; `""` stands for the whole server.

    Every change reaches the streams that Watch. Used on the event loop only.
    """

    def __init__(self, services: Iterable[str]) -> None:
        self._services = ("", *services)
        self._servicer = health.aio.HealthServicer()
        self.serving = False

    @property
    def servicer(self) -> health.aio.HealthServicer:
        """The grpcio servicer that answers Check and Watch."""
        return self._servicer

    async def set_serving(self, serving: bool) -> None:
        """Answer SERVING, or NOT_SERVING, for every service from now on."""
        self.serving = serving
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if serving else response.NOT_SERVING
        for service in self._services:
            await self._servicer.set(service, status)
