"""Exchanges to export: plain ones, such as have something missing, and hostile ones."""

import gzip

from envoy_tap.core.exchange import Exchange, Facts, Message, Pairs
from envoy_tap.core.record import as_object
from envoy_tap.export import FORMATS, About, Entry, entry
from tests.tap.building import exchange

ABOUT = About("0123456789ab", "INC-1: it's\n<b>broken</b>", "path^=/orders", "1.2.3")
HOSTILE = (
    "</pre></details><script>document.title='owned'</script><img src=http://evil.example/x onerror=alert(1)>"
)
BINARY = bytes(range(256))


def request(
    body: bytes = b"",
    *headers: tuple[str, bytes],
    method: bytes = b"POST",
    path: bytes = b"/orders?a=1&b=%20",
) -> Message:
    pseudo = ((":method", method), (":scheme", b"https"), (":authority", b"shop.example"), (":path", path))
    return Message((*pseudo, *headers), body)


def response(
    body: bytes = b"ok", *headers: tuple[str, bytes], status: bytes = b"200", trailers: Pairs = ()
) -> Message:
    return Message(((":status", status), *headers), body, trailers)


ORDER = exchange(
    request(b'{"item": "tea"}', ("content-type", b"application/json"), ("cookie", b"a=1; b=2")),
    response(
        gzip.compress(b'{"made": true}'),
        ("content-type", b"application/json"),
        ("content-encoding", b"gzip"),
        ("set-cookie", b"sid=3; Path=/; Secure"),
    ),
    source_address="10.1.2.3:4711",
    facts=Facts(
        protocol="HTTP/2", local_address="10.9.9.9:443", upstream="10.0.0.7:8080", response_flags="-"
    ),
)
CUT = exchange(
    request(BINARY, ("authorization", b"[redacted]"), ("x-empty", b""), ("x-broken", b"\xff")),
    None,
    truncated=True,
    incomplete=True,
)
EVIL = exchange(
    request(
        HOSTILE.encode(), ("x-evil", HOSTILE.encode()), method=HOSTILE.encode(), path=f"/{HOSTILE}".encode()
    ),
    response(
        HOSTILE.encode(), ("content-type", b"text/html"), ("location", b"javascript:alert(1)"), status=b"503"
    ),
)
RESET = exchange(None, Message((("x", b"y"),)), incomplete=True)
ALL = (ORDER, CUT, EVIL, RESET)


def entries(*exchanges: Exchange) -> list[Entry]:
    return [entry(seq, as_object(each)) for seq, each in enumerate(exchanges or ALL, 1)]


def written(name: str, *exchanges: Exchange) -> bytes:
    """Return the export in the format *name*, of all samples or those given."""
    return b"".join(FORMATS[name].write(iter(entries(*exchanges)), ABOUT))
