"""pcapng (draft-ietf-opsawg-pcapng): each exchange as a TCP connection that carried it in clear, for Wireshark.

The packets are made up around what was captured: TLS is off, HTTP/2 is written as HTTP/1.1, the handshake and the
segments are such as they could have been. Addresses are those that the proxy told, where it did. A connection's own bytes
stand in their order, at their times, between the real ends; its handshake was not seen, and is not written.
"""

import io
import ipaddress
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from pcapng import FileWriter, blocks

from envoy_tap.core.exchange import SocketEvent
from envoy_tap.export.http1 import request_bytes, response_bytes
from envoy_tap.export.model import About, Entry

_LINKTYPE_RAW = 101
_SYN, _FIN, _ACK, _PSH = 0x02, 0x01, 0x10, 0x08
_SEGMENT_BYTES = 16 << 10
_WINDOW = 65535
_TCP = 6
_TTL = 64
# RFC 5737: addresses that nobody has. The port makes Wireshark read HTTP; the real one may be of TLS.
_CLIENT = "192.0.2.1"
_SERVER = "192.0.2.2"
_SERVER_PORT = 80
_FIRST_PORT = 49152
_PORTS = 16384

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def write(entries: Iterable[Entry], about: About) -> Iterator[bytes]:
    """Yield a section with one interface; the first packet of each exchange has a comment on it."""
    out = io.BytesIO()
    section = blocks.SectionHeader(options={"shb_userappl": "envoy-tap", "opt_comment": about.title})
    section.new_member(
        blocks.InterfaceDescription,
        link_type=_LINKTYPE_RAW,
        snaplen=0,
        options={"if_name": "envoy-tap"},
    )
    writer = FileWriter(out, section)
    yield _taken(out)
    for entry in entries:
        comment = "; ".join([f"exchange {entry.seq}, seen by {entry.exchange.node.id}", *entry.caveats])
        for at_s, packet in _packets(entry):
            # Microseconds are the format's default.
            time_us = int(at_s * 1e6)
            writer.write_block(
                section.new_member(
                    blocks.EnhancedPacket,
                    timestamp_high=time_us >> 32,
                    timestamp_low=time_us & 0xFFFF_FFFF,
                    packet_data=packet,
                    options={"opt_comment": comment} if comment else {},
                )
            )
            comment = ""
        yield _taken(out)


def _taken(out: io.BytesIO) -> bytes:
    found = out.getvalue()
    out.seek(0)
    out.truncate()
    return found


@dataclass(slots=True)
class _End:
    """One end of the connection: where it is, and the number of the next byte that it sends (RFC 9293, 3.4)."""

    address: _Address
    port: int
    seq: int

    def segment(self, peer: "_End", flags: int, data: bytes = b"") -> bytes:
        """Return the packet by which this end sends *data* to *peer*, and count it."""
        tcp = _tcp(self, peer, flags, data)
        self.seq = (self.seq + len(data) + bool(flags & (_SYN | _FIN))) & 0xFFFF_FFFF
        return _ip(self.address, peer.address, len(tcp)) + tcp


def _packets(entry: Entry) -> Iterator[tuple[float, bytes]]:
    exchange = entry.exchange
    if exchange.socket is not None:
        yield from _moved(entry, exchange.socket)
        return
    start_s, end_s = exchange.started_s, max(exchange.started_s, exchange.finished_s)
    client, server = _ends(entry)
    yield start_s, client.segment(server, _SYN)
    yield start_s, server.segment(client, _SYN | _ACK)
    yield start_s, client.segment(server, _ACK)
    for piece in _pieces(request_bytes(entry)):
        yield start_s, client.segment(server, _PSH | _ACK, piece)
        yield start_s, server.segment(client, _ACK)
    for piece in _pieces(response_bytes(entry)):
        yield end_s, server.segment(client, _PSH | _ACK, piece)
    yield end_s, server.segment(client, _FIN | _ACK)
    yield end_s, client.segment(server, _FIN | _ACK)
    yield end_s, server.segment(client, _ACK)


def _moved(entry: Entry, events: Iterable[SocketEvent]) -> Iterator[tuple[float, bytes]]:
    peer, proxy = _ends(entry)
    _, port = _address(entry.exchange.facts.local_address)
    proxy.port = port or proxy.port
    for event in events:
        source, target = (peer, proxy) if event.is_read else (proxy, peer)
        for piece in _pieces(event.data):
            yield event.at_s, source.segment(target, _PSH | _ACK, piece)


def _ends(entry: Entry) -> tuple[_End, _End]:
    exchange = entry.exchange
    source, port = _address(exchange.source_address)
    local, _ = _address(exchange.facts.local_address)
    if source is None or (local is not None and local.version != source.version):
        source, port = ipaddress.ip_address(_CLIENT), 0
        local = None if local is not None and local.version != source.version else local
    nobody: _Address = ipaddress.ip_address(
        _SERVER if source.version == ipaddress.IPv4Address(0).version else "2001:db8::2"
    )
    # A connection of its own for each, also where the same port was used again.
    own_port = port or _FIRST_PORT + entry.seq % _PORTS
    return _End(source, own_port, entry.seq * 1000), _End(local or nobody, _SERVER_PORT, 0)


def _address(text: str) -> tuple[_Address | None, int]:
    host, _, port = text.rpartition(":")
    try:
        return ipaddress.ip_address(host.strip("[]")), int(port) & 0xFFFF
    except ValueError:
        return None, 0


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), _SEGMENT_BYTES):
        yield data[at : at + _SEGMENT_BYTES]


def _tcp(source: _End, target: _End, flags: int, data: bytes) -> bytes:
    acked = target.seq if flags & _ACK else 0
    head = struct.pack(
        ">HHIIBBHHH", source.port, target.port, source.seq, acked, 5 << 4, flags, _WINDOW, 0, 0
    )
    size = len(head) + len(data)
    pseudo = source.address.packed + target.address.packed + struct.pack(">II", size, _TCP)
    checksum = _checksum(pseudo + head + data)
    return head[:16] + struct.pack(">H", checksum) + head[18:] + data


def _ip(source: _Address, target: _Address, payload_bytes: int) -> bytes:
    if isinstance(source, ipaddress.IPv6Address):
        head = struct.pack(">IHBB", 6 << 28, payload_bytes, _TCP, _TTL)
        return head + source.packed + target.packed
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + payload_bytes, 0, 0, _TTL, _TCP, 0)
    checksum = _checksum(head + source.packed + target.packed)
    return head[:10] + struct.pack(">H", checksum) + source.packed + target.packed


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): what makes the sum of all 16-bit words a multiple of 65535."""
    words = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return 0xFFFF - (words % 0xFFFF or (0xFFFF if words else 0))
