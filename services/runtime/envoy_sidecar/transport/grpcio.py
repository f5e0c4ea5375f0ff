"""The grpcio transport: unary and streaming, TCP and Unix sockets, TLS and mTLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from queue import SimpleQueue

import grpc
from grpc_health.v1 import health_pb2_grpc

from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.batching import MAX_BATCH_CALLS, MAX_MESSAGE_BYTES, answer_batch
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import (
    Answer,
    Call,
    Failure,
    ListenError,
    Peer,
    Service,
    StreamHandler,
    UnaryHandler,
)
from envoy_sidecar.transport.tls import CertificateReloader, TlsFiles

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
    ) -> None:
        self._address = address
        self._services = services
        self._health = health
        self._tls = tls
        self._reuse_port = reuse_port
        self._dispatcher = _Dispatcher()
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Address:
        """Bind and serve; see `Transport.start`."""
        server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", int(self._reuse_port)),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                # Envoy's connection_keepalive pings are welcome at any pace; the default answers them with GOAWAY.
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        for service in self._services:
            server.add_generic_rpc_handlers((self._handlers(service),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health.servicer, server)
        bound = self._bind(server)
        self._dispatcher.start()
        await server.start()
        self._server = server
        return bound

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, finish those in flight for at most *grace_s*, then close."""
        if self._server is not None:
            await self._server.stop(grace_s)
            self._server = None
            await asyncio.to_thread(self._dispatcher.stop)

    def _bind(self, server: grpc.aio.Server) -> Address:
        address = self._address
        if address.is_unix:
            unix_socket.claim(address.path)
        try:
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
        methods = {name: self._unary(handler) for name, handler in service.unary.items()}
        methods |= {name: _stream(handler) for name, handler in service.streams.items()}
        return grpc.method_handlers_generic_handler(service.name, methods)

    def _unary(self, handler: UnaryHandler) -> grpc.RpcMethodHandler[bytes, bytes]:
        async def call(request: bytes, context: _Context) -> bytes:
            future = asyncio.get_running_loop().create_future()
            self._dispatcher.put((handler, Call(request, _traceparent(context)), future))
            answer: Answer = await future
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
        self._thread.join()

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first]
            while len(batch) < MAX_BATCH_CALLS and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    self._queue.put(None)
                    break
                batch.append(following)
            self._answer(batch)

    def _answer(self, batch: list[_Waiting]) -> None:
        # A call whose caller has gone or whose deadline has passed is not worth deciding.
        by_handler: dict[UnaryHandler, list[_Waiting]] = {}
        for waiting in batch:
            if not waiting[2].cancelled():
                by_handler.setdefault(waiting[0], []).append(waiting)
        for handler, group in by_handler.items():
            answers = answer_batch(handler, [call for _, call, _ in group])
            futures = [future for _, _, future in group]
            futures[0].get_loop().call_soon_threadsafe(_resolve, futures, answers)


def _resolve(futures: Sequence[asyncio.Future[Answer]], answers: Sequence[Answer]) -> None:
    for future, answer in zip(futures, answers, strict=True):
        if not future.done():
            future.set_result(answer)


def _stream(handler: StreamHandler) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def call(requests: AsyncIterator[bytes], context: _Context) -> AsyncIterator[bytes]:
        metadata = {key.lower(): value for key, value in context.invocation_metadata() or ()}
        async for response in handler(requests, Peer(context.peer(), metadata)):
            yield response

    return grpc.stream_stream_rpc_method_handler(call)


def _traceparent(context: _Context) -> str | None:
    for key, value in context.invocation_metadata() or ():
        if key == "traceparent":
            return value if isinstance(value, str) else None
    return None
