"""The yardstick: a transport whose handler answers a constant and parses nothing.

`python -m tests.bench.empty native|grpcio PORT` serves until it is ended; it says so on stderr when it is ready.
"""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.choose import Choice, build
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import Answer, Call, Peer, Service

SERVICE = "bench.Empty"
UNARY = f"/{SERVICE}/Unary"
STREAM = f"/{SERVICE}/Stream"


def _unary(calls: Sequence[Call]) -> Sequence[Answer]:
    return [b""] * len(calls)


async def _stream(requests: AsyncIterator[bytes], _peer: Peer) -> AsyncGenerator[bytes, None]:
    async for _ in requests:
        pass
    yield b""


async def _serve(transport_name: str, port: int) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    service = Service(SERVICE, unary={"Unary": _unary}, streams={"Stream": _stream})
    choice = Choice("native" if transport_name == "native" else "grpcio", "measured")
    health = HealthBoard([SERVICE])
    transport = build(choice, Address("127.0.0.1", port), [service], health)
    await transport.start()
    await health.set_serving(True)
    sys.stderr.write("ready\n")
    await stopped.wait()
    await transport.stop(grace_s=1)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
