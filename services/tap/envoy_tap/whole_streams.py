"""The way in for the proxies' script: streams that are over, each as one unary call, many of them at once.

A stream costs a gRPC server in Python some ten times what a unary call does, which the native transport hands over in
batches; and what the script sends is complete when it is sent.
"""

from collections.abc import Sequence

from envoy_sidecar.transport.port import Answer, Call, Service
from envoy_tap.collector import Collector
from envoy_tap.core.events import Event, Loss
from envoy_tap.wire import EMPTY_RESPONSE, StreamDecoder, whole_stream

SERVICE_NAME = "envoy_sidecar.tap.WholeStreams"
# What is decoded can be thirty times as large, and a batch can be 1 GiB: no more of it is decoded than this, and then
# handed to the collector, whose limits hold for it.
_AT_ONCE_BYTES = 1 << 20


class WholeStreams:
    """Feeds *collector* with what `TakeTaps` calls hold: the same messages as a StreamTaps stream, and its clean end."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def service(self) -> Service:
        """Return the gRPC service to register with a transport."""
        return Service(SERVICE_NAME, unary={"TakeTaps": self.take})

    def take(self, calls: Sequence[Call]) -> Sequence[Answer]:
        """Take in a batch of TakeTapsRequests; what cannot be read is counted and, as all of it is, answered empty."""
        events: list[Event] = []
        losses: list[Loss] = []
        size_bytes = 0
        for call in calls:
            if size_bytes + len(call.payload) > _AT_ONCE_BYTES and size_bytes:
                self._collector.feed_from_thread(events, losses)
                events, losses, size_bytes = [], [], 0
            self._read(call.payload, events, losses)
            size_bytes += len(call.payload)
        self._collector.feed_from_thread(events, losses)
        return [EMPTY_RESPONSE] * len(calls)

    def _read(self, payload: bytes, events: list[Event], losses: list[Loss]) -> None:
        messages = whole_stream(payload)
        if messages is None:
            losses.append(Loss.UNPARSEABLE)
            return
        decoder = StreamDecoder(self._collector.next_stream(), losses.append)
        events += filter(None, map(decoder.decode, messages))
        events.append(decoder.end(clean=True))
