"""Raw HTTP/1.1: each request, then its response; `x-envoy-tap` says the number, and what is not whole."""

from collections.abc import Iterable, Iterator

from envoy_tap.export.http1 import request_bytes, response_bytes
from envoy_tap.export.model import About, Entry


def write(entries: Iterable[Entry], _about: About) -> Iterator[bytes]:
    """Yield the messages one after the other; each says its length, so that they can be told apart."""
    for entry in entries:
        yield request_bytes(entry)
        yield response_bytes(entry)
