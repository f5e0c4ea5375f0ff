"""A minimal control plane: everything over one stream (ADS), state of the world, with versions, ACKs and NACKs.

The tap slot is relayed: for each Envoy it asks the tap service as that Envoy, and hands on what comes, time to live and
all, and what Envoy says to it.
"""

import queue
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse
from envoy_data_plane.google.protobuf import Any as EnvoyAny

from envoy_demo.ports import LOOPBACK
from tests.planes.resources import SLOT, packed

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SLOT_METHOD = "/envoy.service.extension.v3.ExtensionConfigDiscoveryService/StreamExtensionConfigs"
STREAMS = 16


@dataclass(frozen=True, slots=True)
class Changed:
    """What of a type is served has changed."""

    type_url: str


@dataclass(slots=True)
class Subscription:
    """What one Envoy asked for of one type, and what it was last sent."""

    names: Sequence[str]
    sent: str = ""
    nonce: str = ""


@dataclass
class ControlPlane:
    """A context manager that serves *resources* by type URL and name, and relays the slot of the tap on *tap_port*.

    `acked` and `refused` have what Envoy said: the newest version it took of a type, and its words where it did not.
    """

    tap_port: int
    port: int = 0
    acked: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _served: dict[str, dict[str, EnvoyAny]] = field(default_factory=lambda: defaultdict(dict))
    _versions: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _streams: list["queue.Queue[Any]"] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(STREAMS))
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self._serve)
        methods = {"StreamAggregatedResources": handler}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:0")
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for stream in self._streams:
                stream.put(None)
        self._server.stop(grace=1).wait()

    def publish(self, resources: Sequence[Mapping[str, Any]]) -> None:
        """Serve *resources*, as in a file, in place of those of the same types."""
        by_type: dict[str, dict[str, EnvoyAny]] = defaultdict(dict)
        for resource in resources:
            one = packed(resource)
            by_type[one.type_url][resource["name"]] = one
        self.publish_packed(by_type)

    def publish_packed(self, by_type: Mapping[str, dict[str, EnvoyAny]]) -> None:
        """Serve resources by type URL and name, in place of those of the same types."""
        with self._lock:
            for type_url, named in by_type.items():
                self._served[type_url] = named
                self._versions[type_url] += 1
                for stream in self._streams:
                    stream.put(Changed(type_url))

    def version(self, type_url: str) -> str:
        """Return the version of a type that is served."""
        return str(self._versions[type_url])

    def _serve(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        events: queue.Queue[Any] = queue.Queue()
        with self._lock:
            self._streams.append(events)
        context.add_callback(lambda: events.put(None))
        threading.Thread(target=_read, args=(requests, events), daemon=True).start()
        relay = Relay(self.tap_port, events)
        subscriptions: dict[str, Subscription] = {}
        node: Node | None = None
        try:
            while (event := events.get()) is not None:
                if isinstance(event, DiscoveryResponse):  # from the tap service
                    yield bytes(event)
                elif isinstance(event, Changed):
                    yield from self._due(event.type_url, subscriptions)
                else:
                    node = event.node or node  # only the first request has it
                    event.node = node
                    if event.type_url == SLOT:
                        relay.hand_on(event)
                    else:
                        self._hear(event, subscriptions)
                        yield from self._due(event.type_url, subscriptions)
        finally:
            relay.close()
            with self._lock:
                self._streams.remove(events)

    def _hear(self, request: DiscoveryRequest, subscriptions: dict[str, Subscription]) -> None:
        known = subscriptions.setdefault(request.type_url, Subscription(request.resource_names))
        if request.error_detail is not None:
            self.refused.append(request.error_detail.message)
        elif request.response_nonce and request.response_nonce == known.nonce:
            self.acked[request.type_url] = request.version_info
        if list(request.resource_names) != list(known.names):
            known.names, known.sent = request.resource_names, ""

    def _due(self, type_url: str, subscriptions: dict[str, Subscription]) -> Iterator[bytes]:
        subscription = subscriptions.get(type_url)
        with self._lock:
            served, version = self._served.get(type_url), self.version(type_url)
        if subscription is None or served is None or subscription.sent == version:
            return
        names = subscription.names or list(served)
        subscription.sent, subscription.nonce = version, f"{type_url.rpartition('.')[2]}-{version}"
        resources = [served[name] for name in names if name in served]
        yield bytes(
            DiscoveryResponse(
                version_info=version, resources=resources, type_url=type_url, nonce=subscription.nonce
            )
        )


class Relay:
    """The tap service's own stream for one Envoy: what it answers goes into *events*."""

    def __init__(self, tap_port: int, events: "queue.Queue[Any]") -> None:
        self._port = tap_port
        self._events = events
        self._requests: queue.Queue[bytes | None] | None = None

    def hand_on(self, request: DiscoveryRequest) -> None:
        if self._requests is None:
            self._requests = queue.Queue()
            self._channel = grpc.insecure_channel(f"{LOOPBACK}:{self._port}")
            ask: grpc.StreamStreamMultiCallable[bytes, bytes] = self._channel.stream_stream(SLOT_METHOD)
            answers = ask(iter(self._requests.get, None))
            threading.Thread(target=self._listen, args=(answers,), daemon=True).start()
        self._requests.put(bytes(request))

    def close(self) -> None:
        if self._requests is not None:
            self._requests.put(None)
            self._channel.close()

    def _listen(self, answers: Iterator[bytes]) -> None:
        try:
            for payload in answers:
                self._events.put(DiscoveryResponse.parse(payload))
        except grpc.RpcError:
            return  # it was closed, or tap is away: the time to live ends what it pushed


def _read(requests: Iterator[bytes], events: "queue.Queue[Any]") -> None:
    try:
        for payload in requests:
            events.put(DiscoveryRequest.parse(payload))
    except grpc.RpcError:
        pass
    events.put(None)
