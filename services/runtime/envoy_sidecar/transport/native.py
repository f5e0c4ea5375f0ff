"""The native transport: `pygrpc-native` does HTTP/2 and gRPC outside the GIL, plaintext over TCP and Unix sockets.

Unary methods are answered here, in the batches that the front hands over. Streams and health go to a grpcio server
behind it, on a private Unix socket, through which the front forwards every method that it does not know.
"""

import asyncio
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from pygrpc_native import EVENT_CALL, NativeGrpcFront

from envoy_sidecar.transport import unix_socket
from envoy_sidecar.transport.address import Address
from envoy_sidecar.transport.batching import (
    HANDLER_FAILED,
    MAX_BATCH_CALLS,
    MAX_MESSAGE_BYTES,
    TRACEPARENT_LENGTH,
    answer_batch,
    join,
    too_large,
    traceparent_or_none,
)
from envoy_sidecar.transport.grpcio import GrpcioTransport
from envoy_sidecar.transport.health import HealthBoard
from envoy_sidecar.transport.port import DEFAULT_SOCKET_MODE, Call, ListenError, Service, UnaryHandler
from envoy_sidecar.transport.quiet import Quiet

_Event = tuple[int, int, int, bytes | None, bytes | str | None]

LOG = logging.getLogger(__name__)

_PRIVATE = 0o600


class NativeTransport:
    """Serves unary methods on `NativeGrpcFront`, and everything else through a grpcio server behind it."""

    def __init__(
        self,
        address: Address,
        services: Sequence[Service],
        health: HealthBoard,
        *,
        reuse_port: bool = False,
        socket_mode: int = DEFAULT_SOCKET_MODE,
    ) -> None:
        self._address = address
        self._methods = [
            _Method(f"/{service.name}/{name}", handler, service.too_large)
            for service in services
            for name, handler in service.unary.items()
        ]
        self._streams = [
            Service(service.name, streams=service.streams) for service in services if service.streams
        ]
        self._health = health
        self._reuse_port = reuse_port
        self._socket_mode = socket_mode
        self._front: NativeGrpcFront | None = None
        self._behind: GrpcioTransport | None = None
        self._folder = ""
        self._quiet = Quiet()
        self._dispatcher: _Dispatcher | None = None

    async def start(self) -> Address:
        """Bind and serve; see `Transport.start`."""
        address = self._address
        if address.is_unix:
            unix_socket.claim(address.path)
        try:
            self._folder = tempfile.mkdtemp(prefix="envoy-sidecar-")
        except OSError:
            message = (
                "the native transport needs a writable temporary folder: set TMPDIR, or --transport grpcio"
            )
            raise ListenError(message) from None
        try:
            front = self._bound_front()
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ListenError(
                f"{address}: cannot listen there, perhaps another server does: {error}"
            ) from None
        try:
            behind = Path(self._folder) / "s"
            self._behind = GrpcioTransport(
                Address(path=str(behind)), self._streams, self._health, socket_mode=_PRIVATE
            )
            await self._behind.start()
            front.set_fallback(str(behind))
            front.start()
        except BaseException:
            front.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._front = front
        self._dispatcher = _Dispatcher(front, self._methods, self._quiet)
        self._dispatcher.start()
        return address if address.is_unix else Address(address.host, front.bound_port)

    def _bound_front(self) -> NativeGrpcFront:
        address = self._address
        with ExitStack() as binding:
            if address.is_unix:
                binding.enter_context(unix_socket.created_with(address.path, self._socket_mode))
            return NativeGrpcFront(
                str(address),
                [(method.path, False) for method in self._methods],
                # The value of this header arrives with each call at no cost; the full metadata would cost 15%.
                client_key_metadata="traceparent",
                reuse_port=self._reuse_port,
            )

    async def stop(self, grace_s: float) -> None:
        """Answer until no unary call has come for a moment and the streams have ended, at most *grace_s*; then close.

        The front refuses what is in flight when it closes, so it is closed when nothing is. A second call, after the
        first was cancelled, goes on from there.
        """
        if self._front is None or self._behind is None or self._dispatcher is None:
            return
        deadline_s = time.monotonic() + grace_s
        await self._quiet.wait(deadline_s)
        await self._behind.stop(max(0.0, deadline_s - time.monotonic()))
        await asyncio.to_thread(self._front.close)
        await asyncio.to_thread(join, self._dispatcher)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._front = None


class _Method(NamedTuple):
    path: str
    handler: UnaryHandler
    too_large: bytes | None


class _Dispatcher(threading.Thread):
    """The thread that takes batches from the front and gives them to the handlers."""

    def __init__(self, front: NativeGrpcFront, methods: Sequence[_Method], quiet: Quiet) -> None:
        super().__init__(name="native-dispatcher", daemon=True)
        self._front = front
        self._methods = methods
        self._quiet = quiet

    def run(self) -> None:
        front = self._front
        while (events := front.recv_batch(MAX_BATCH_CALLS)) is not None:
            self._quiet.begin()
            try:
                self._answer_all(events)
            except BaseException:  # without this thread every call would hang
                LOG.exception("a batch of %d events could not be answered", len(events))
                self._fail_all(events)
            finally:
                self._quiet.end()

    def _answer_all(self, events: Sequence[_Event]) -> None:
        if len(self._methods) == 1:
            self._answer(self._methods[0], events)
            return
        for number, method in enumerate(self._methods):
            self._answer(method, [event for event in events if event[2] == number])

    def _fail_all(self, events: Sequence[_Event]) -> None:
        code = int(HANDLER_FAILED.code.value[0])
        for kind, call_id, *_ in events:
            if kind == EVENT_CALL:
                with suppress(BaseException):  # one that was answered already, or has gone
                    self._front.fail(call_id, code, HANDLER_FAILED.message)

    def _answer(self, method: _Method, events: Sequence[_Event]) -> None:
        ids: list[int] = []
        calls: list[Call] = []
        for kind, call_id, _, payload, key in events:
            if kind != EVENT_CALL or payload is None:
                continue
            if len(payload) > MAX_MESSAGE_BYTES:
                self._refuse(call_id, len(payload), method.too_large)
                continue
            ids.append(call_id)
            # Without the header the key is the peer's address, which has not the outline of a traceparent.
            calls.append(Call(payload, _traceparent(key) if key and len(key) >= TRACEPARENT_LENGTH else None))
        if not calls:
            return
        respond = self._front.respond
        for call_id, answer in zip(ids, answer_batch(method.handler, calls), strict=True):
            if isinstance(answer, bytes):
                respond(call_id, answer)
            else:
                self._front.fail(call_id, int(answer.code.value[0]), answer.message)

    def _refuse(self, call_id: int, size: int, answer: bytes | None) -> None:
        if answer is None:
            refusal = too_large(size)
            self._front.fail(call_id, int(refusal.code.value[0]), refusal.message)
        else:
            self._front.respond(call_id, answer)


def _traceparent(key: bytes | str) -> str | None:
    return traceparent_or_none(key.decode("ascii", "replace") if isinstance(key, bytes) else key)
