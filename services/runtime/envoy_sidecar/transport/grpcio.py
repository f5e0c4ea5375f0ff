"""The grpcio transport: unary and streaming, TCP and Unix sockets, TLS and mTLS."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing, suppress
from queue import SimpleQueue

import grpc
from grpc_health.v1 import health_pb2_grpc

from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.batching import (
    HANDLER_FAILED,
    MAX_BATCH_CALLS,
    MAX_MESSAGE_BYTES,
    answer_batch,
    join,
    too_large,
    traceparent_or_none,
)
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import (
    DEFAULT_SOCKET_MODE,
    Answer,
    Call,
    Failure,
    ListenError,
    Peer,
    Service,
    StreamHandler,
    UnaryHandler,
)
from envoy_sidecar.transport.quiet import Quiet
from envoy_sidecar.transport.tls import CertificateReloader, TlsFiles

LOG = logging.getLogger(__name__)
_Context = grpc.aio.ServicerContext[bytes, bytes]
_Waiting = tuple[UnaryHandler, Call, asyncio.Future[Answer]]


class GrpcioTransport:
    """Serves services with grpcio's asyncio server; unary calls reach their handler in batches on one thread."""

    def __init__(
        self,
        address: Address,
        services: Sequence[Service],
        health: HealthBoard,
        *,
        tls: TlsFiles | None = None,
        reuse_port: bool = False,
        socket_mode: int = DEFAULT_SOCKET_MODE,
    ) -> None:
        self._address = address
        self._services = services
        self._health = health
        self._tls = tls
        self._reuse_port = reuse_port
        self._socket_mode = socket_mode
        self._dispatcher = _Dispatcher()
        self._quiet = Quiet()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Address:
        """Bind and serve; see `Transport.start`."""
        # The library refuses what is over the limit by itself; a service with an answer of its own must be asked.
        asks = any(service.too_large is not None for service in self._services)
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(self._reuse_port)),
                ("grpc.max_receive_message_length", -1 if asks else MAX_MESSAGE_BYTES),
                # Envoy's connection_keepalive pings are welcome at any pace; the default answers them with GOAWAY.
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        for service in self._services:
            server.add_generic_rpc_handlers((self._handlers(service),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        bound = self._bind(server)
        await server.start()
        self._server = server
        self._dispatcher.start()
        return bound

    async def stop(self, grace_s: float) -> None:
        """Answer until no unary call has come for a moment; then refuse new ones and let the streams end.

        Both together take at most *grace_s*. A second call, after the first was cancelled, goes on from there.
        """
        if self._server is None:
            return
        deadline_s = time.monotonic() + grace_s
        await self._quiet.wait(deadline_s)
        await self._server.stop(max(0.0, deadline_s - time.monotonic()))
        self._server = None
        await asyncio.to_thread(self._dispatcher.stop)

    def _bind(self, server: grpc.aio.Server) -> Address:
        address = self._address
        if address.is_unix:
            unix_socket.claim(address.path)
        try:
            with ExitStack() as binding:
                if address.is_unix:
                    binding.enter_context(unix_socket.created_with(address.path, self._socket_mode))
                if self._tls is None:
                    port = server.add_insecure_port(str(address))
                else:
                    port = server.add_secure_port(str(address), CertificateReloader(self._tls).credentials())
        except RuntimeError as error:
            raise ListenError(
                f"{address}: cannot listen there, perhaps another server does: {error}"
            ) from None
        return address if address.is_unix else Address(address.host, port)

    def _handlers(self, service: Service) -> grpc.GenericRpcHandler:
        methods = {name: self._unary(handler, service.too_large) for name, handler in service.unary.items()}
        methods |= {name: _stream(handler) for name, handler in service.streams.items()}
        return grpc.method_handlers_generic_handler(service.name, methods)

    def _unary(self, handler: UnaryHandler, refusal: bytes | None) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def call(request: bytes, context: _Context) -> bytes:
            if len(request) > MAX_MESSAGE_BYTES:
                if refusal is None:
                    failure = too_large(len(request))
                    await context.abort(failure.code, failure.message)
                return refusal
            future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._quiet.begin()
            try:
                self._dispatcher.put((handler, Call(request, _traceparent(context)), future))
                answer = await future
            finally:
                self._quiet.end()
            if isinstance(answer, Failure):
                await context.abort(answer.code, answer.message)
            return answer

        return grpc.unary_unary_rpc_method_handler(call)


class _Dispatcher:
    """One thread that drains what has arrived and gives it to the handlers in batches."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="grpcio-dispatcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, waiting: _Waiting) -> None:
        self._queue.put(waiting)

    def stop(self) -> None:
        self._queue.put(None)
        join(self._thread)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < MAX_BATCH_CALLS and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
            try:
                self._answer(batch)
            except BaseException:  # without this thread every call would hang
                LOG.exception("a batch of %d calls could not be answered", len(batch))
                _settle([waiting[2] for waiting in batch], [HANDLER_FAILED] * len(batch))

    def _answer(self, batch: list[_Waiting]) -> None:
        # A call whose caller has gone or whose deadline has passed is not worth deciding.
        by_handler: dict[int, list[_Waiting]] = {}
        for waiting in batch:
            if not waiting[2].cancelled():
                by_handler.setdefault(id(waiting[0]), []).append(waiting)
        for group in by_handler.values():
            answers = answer_batch(group[0][0], [call for _, call, _ in group])
            futures = [future for _, _, future in group]
            _settle(futures, answers)


def _settle(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer]) -> None:
    with suppress(RuntimeError):  # the loop has closed: the server stopped without waiting for this handler
        futures[0].get_loop().call_soon_threadsafe(_resolve, futures, answers)


def _resolve(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if not future.done():
            future.set_result(answer)


def _stream(handler: StreamHandler) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def call(requests: AsyncIterator[bytes], context: _Context) -> AsyncGenerator[bytes, None]:
        metadata = {key.lower(): value for key, value in context.invocation_metadata() or ()}
        try:
            # Closed here and now: a cancelled stream's handler must not wait for the garbage collector to clean up.
            async with aclosing(
                handler(_bounded(requests, context), Peer(context.peer(), metadata))
            ) as responses:
                async for response in responses:
                    yield response
        except Exception:
            LOG.exception("a stream handler raised")
            await context.abort(HANDLER_FAILED.code, HANDLER_FAILED.message)

    return grpc.stream_stream_rpc_method_handler(call)


async def _bounded(requests: AsyncIterator[bytes], context: _Context) -> AsyncGenerator[bytes, None]:
    async for request in requests:
        if len(request) > MAX_MESSAGE_BYTES:
            failure = too_large(len(request))
            await context.abort(failure.code, failure.message)
        yield request


def _traceparent(context: _Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return traceparent_or_none(value)
    return None
