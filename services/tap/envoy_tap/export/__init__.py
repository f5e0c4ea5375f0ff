"""Captured exchanges in the formats of other tools: `FORMATS` names them.

Each is written as it is read, so a session need not fit into memory, and says what is truncated, incomplete or
redacted. A format is a `Writer`; they know nothing of HTTP or of the store.
"""

from dataclasses import dataclass

from envoy_tap.export import curl, har, jsonl, pcapng, raw, report
from envoy_tap.export.model import About, Entry, Writer, entry

__all__ = ["FORMATS", "About", "Entry", "Format", "Writer", "entry", "file_name"]


@dataclass(frozen=True, slots=True)
class Format:
    """A format's writer, its media type and the ending of its file's name."""

    write: Writer
    media_type: str
    ending: str


FORMATS = {
    "har": Format(har.write, "application/json", "har"),
    "jsonl": Format(jsonl.write, "application/jsonl", "jsonl"),
    "curl": Format(curl.write, "text/x-shellscript; charset=utf-8", "sh"),
    "raw": Format(raw.write, "application/octet-stream", "http"),
    "pcapng": Format(pcapng.write, "application/x-pcapng", "pcapng"),
    "html": Format(report.write, "text/html; charset=utf-8", "html"),
}


def file_name(session_id: str, form: Format) -> str:
    """Return the name of an export's file: `tap-0123456789ab.har`; nothing in it comes from traffic."""
    return f"tap-{''.join(char for char in session_id if char.isalnum())}.{form.ending}"
