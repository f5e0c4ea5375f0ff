"""A connection's bytes: as much of them as may be had, and what exchange they are."""

from collections.abc import Sequence
from dataclasses import replace

from envoy_tap.core.events import WholeConnection
from envoy_tap.core.exchange import Exchange, Facts, SocketEvent


def cut(events: Sequence[SocketEvent], most_bytes: int) -> tuple[SocketEvent, ...]:
    """Return *events* with the first *most_bytes* of each direction."""
    left = {True: most_bytes, False: most_bytes}
    found = []
    for event in events:
        data = event.data[: left[event.is_read]]
        left[event.is_read] -= len(data)
        if data:
            found.append(replace(event, data=data))
    return tuple(found)


def exchange_of_connection(
    connection: WholeConnection, trace_id: int, most_bytes: int, now_s: float
) -> Exchange:
    """Return *connection* as an exchange with the first *most_bytes* of each direction; its times are Envoy's."""
    events = cut(connection.events, most_bytes)
    times = [event.at_s for event in connection.events] or [now_s]
    return Exchange(
        connection.key.tap_id,
        connection.key.node,
        trace_id,
        None,
        None,
        times[0],
        times[-1],
        truncated=connection.truncated or _size(events) < _size(connection.events),
        source_address=connection.remote_address,
        facts=Facts(local_address=connection.local_address),
        socket=events,
    )


def _size(events: Sequence[SocketEvent]) -> int:
    return sum(len(event.data) for event in events)
