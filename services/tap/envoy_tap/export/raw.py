"""Raw HTTP/1.1: each request, then its response; `x-envoy-tap` says the number, and what is not whole."""

from collections.abc import Iterable, Iterator

from envoy_tap.export.http1 import request_bytes, response_bytes
from envoy_tap.export.model import About, Entry, told


def write(entries: Iterable[Entry], _about: About) -> Iterator[bytes]:
    """Yield the messages one after the other; each says its length, so that they can be told apart."""
    for entry in entries:
        yield told(entry, _both, _failed)


def _both(entry: Entry) -> bytes:
    return request_bytes(entry) + response_bytes(entry)


def _failed(entry: Entry, problem: str) -> bytes:
    # A request, as all others are, so that the file can still be read.
    return b"GET / HTTP/1.1\r\nhost: \r\nx-envoy-tap: %d; %b\r\n\r\n" % (entry.seq, problem.encode())
