"""JSON lines: each exchange as it is stored (`core.record.as_object`), with its `seq`."""

import json
from collections.abc import Iterable, Iterator

from envoy_tap.export.model import About, Entry


def write(entries: Iterable[Entry], _about: About) -> Iterator[bytes]:
    """Yield a line for each; ASCII only, so that no reader takes a character for the line's end."""
    for entry in entries:
        yield json.dumps({"seq": entry.seq, **entry.stored}, separators=(",", ":")).encode() + b"\n"
