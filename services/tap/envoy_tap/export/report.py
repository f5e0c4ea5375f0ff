"""A report as one HTML file: no script, nothing loaded, and what a peer sent is text in it, never markup."""

import base64
import hashlib
from collections.abc import Iterable, Iterator
from functools import partial
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from envoy_tap.core.decode import as_object, decoded
from envoy_tap.export.har import url_of
from envoy_tap.export.model import About, Entry, told

_BUFFERED = 256
_SHOWN_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def write(entries: Iterable[Entry], about: About) -> Iterator[bytes]:
    """Yield the file as it comes. Its Content-Security-Policy allows its own style and images within it alone."""
    folder = files("envoy_tap.export")
    style = (folder / "report.css").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((folder / "report.html").read_text("utf-8"))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    pieces = template.stream(
        about=about,
        style=style,
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'",
        entries=(told(each, partial(_shown, about=about), _failed) for each in entries),
        images=_SHOWN_IMAGES,
    )
    pieces.enable_buffering(_BUFFERED)
    for piece in pieces:
        yield piece.encode("utf-8", "backslashreplace")


def _failed(entry: Entry, problem: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"url": "", "facts": {}, "request": None, "response": None, "decoded": {}}
    return {"seq": entry.seq, "summary": {**entry.summary, "flags": []}, "caveats": [problem], **nothing}


def _shown(entry: Entry, about: About) -> dict[str, Any]:
    exchange = entry.exchange
    facts = {name: value for name, value in entry.stored.get("facts", {}).items() if value}
    source = {f"source {name}": value for name, value in entry.stored["source"].items() if value}
    return {
        "seq": entry.seq,
        "summary": entry.summary,
        "url": "" if exchange.request is None else url_of(exchange.request),
        "caveats": entry.caveats,
        "facts": {"node": exchange.node.id, **source, **facts},
        "request": entry.stored["request"],
        "response": entry.stored["response"],
        "decoded": as_object(decoded(exchange, about.schema)),
    }
