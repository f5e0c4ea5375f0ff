"""Whatever arrives on the port, the server goes on serving everybody else."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from random import Random

import h2.config
import h2.connection
import h2.events
import pytest

from tests.runtime.serving import SAY, Running, say

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SEED = 20261123


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return an HTTP/2 frame (RFC 9113 section 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


NOISE = {
    "http1": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "zeros": b"\x00" * 4096,
    "ones": b"\xff" * 4096,
    "random": Random(SEED).randbytes(4096),  # noqa: S311 -- noise, no secret
    "preface-then-ones": PREFACE + b"\xff" * 4096,
    "preface-then-random": PREFACE + SETTINGS + Random(SEED + 1).randbytes(4096),  # noqa: S311 -- noise, no secret
    "headers-on-stream-0": PREFACE + SETTINGS + frame(1, 4, 0, b"\x82"),
    "headers-that-hpack-cannot-read": PREFACE + SETTINGS + frame(1, 5, 1, b"\xff" * 16),
    "data-on-an-idle-stream": PREFACE + SETTINGS + frame(0, 1, 1, b"abc"),
    "a-frame-over-the-limit": PREFACE + SETTINGS + frame(0, 0, 1, b"\x00" * 20_000),
    "window-update-of-0": PREFACE + SETTINGS + frame(8, 0, 0, b"\x00\x00\x00\x00"),
    "settings-of-a-wrong-length": PREFACE + frame(4, 0, 0, b"\x00"),
    "unknown-frame-then-push-promise": PREFACE
    + SETTINGS
    + frame(0x77, 0, 0, b"x")
    + frame(5, 4, 1, b"\x00" * 4),
}


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@contextlib.asynccontextmanager
async def connected(server: Running) -> AsyncIterator[Ends]:
    if server.address.is_unix:
        reader, writer = await asyncio.open_unix_connection(server.address.path)
    else:
        reader, writer = await asyncio.open_connection(server.address.host, server.address.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), 20)
    return b""


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
async def test_noise_ends_its_own_connection_only(server: Running, noise: bytes) -> None:
    async with server.channel() as channel:
        assert await say(channel, b"before") == b"before"
        async with connected(server) as (reader, writer):
            writer.write(noise)
            with contextlib.suppress(OSError):  # it has hung up already
                writer.write_eof()
            await read_to_the_end(reader)
        assert await say(channel, b"after") == b"after"
    assert [call.payload for batch in server.echo.batches for call in batch] == [b"before", b"after"]


class RawCaller:
    """An HTTP/2 client that sends what no gRPC library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.http2.initiate_connection()

    def open(self, stream: int, **headers: str) -> None:
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": SAY,
            ":authority": "test",
            "te": "trailers",
            "content-type": "application/grpc",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        self.http2.send_headers(stream, list(fields.items()))

    async def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())
        await self.writer.drain()

    async def ping(self) -> None:
        """Return once the server has read what was sent before; the last of it may have made it hang up."""
        self.http2.ping(b"in order")
        await self.flush()
        while data := await asyncio.wait_for(self.reader.read(65_536), 20):
            if any(isinstance(event, h2.events.PingAckReceived) for event in self.http2.receive_data(data)):
                return
            await self.flush()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x00",
        b"\x00\x00\x00\x00\x09short",
        b"\x00\xff\xff\xff\xffx",
        b"\x01\x00\x00\x00\x03abc",
        b"\x7f\x00\x00\x00\x03abc",
    ],
    ids=[
        "none",
        "half-prefix",
        "cut-short",
        "4-GB-announced",
        "compressed-by-nothing",
        "unknown-flag",
    ],
)
async def test_a_malformed_grpc_message_disturbs_nobody_else(server: Running, message: bytes) -> None:
    async with connected(server) as ends:
        caller = RawCaller(*ends)
        caller.open(1)
        caller.http2.send_data(1, message, end_stream=True)
        await caller.flush()
        await caller.ping()
        async with server.channel() as channel:
            assert await say(channel, b"meanwhile") == b"meanwhile"
    async with server.channel() as channel:
        assert await say(channel, b"after") == b"after"
    payloads = [call.payload for batch in server.echo.batches for call in batch]
    assert [payload for payload in payloads if payload] == [b"meanwhile", b"after"]


async def test_a_thousand_streams_that_are_reset_at_once_leave_the_server_serving(server: Running) -> None:
    async with connected(server) as ends:
        caller = RawCaller(*ends)
        for number in range(1000):
            stream = 2 * number + 1
            caller.open(stream)
            caller.http2.reset_stream(stream)
            with contextlib.suppress(ConnectionError):
                await caller.flush()
    async with server.channel() as channel:
        assert await say(channel, b"after") == b"after"


async def test_any_bytes_are_a_payload(server: Running) -> None:
    noise = Random(SEED)  # noqa: S311 -- noise, no secret
    payloads = [b"", b"\x00", *(noise.randbytes(noise.randrange(70_000)) for _ in range(30))]
    async with server.channel() as channel:
        assert [await say(channel, payload) for payload in payloads] == payloads
