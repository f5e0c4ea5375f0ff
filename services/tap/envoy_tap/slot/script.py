"""The Lua script of a target: the template `tap.lua` with its placeholders replaced by escaped literals."""

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files

from envoy_tap.core.exchange import Node
from envoy_tap.slot.target import Target

_PLACEHOLDER = re.compile(r"@([A-Z_]+)@")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


def quoted(text: str) -> str:
    r"""Return *text* as a Lua string literal of its UTF-8 bytes.

    Every byte but ASCII letters and digits is written `\ddd`, three digits always, so no input holds a quote, a
    backslash of its own, a line end or a placeholder (Lua 5.1 manual, 2.1). A lone surrogate is written as `?`.
    """
    data = text.encode(errors="replace")
    return '"' + "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03d}" for byte in data) + '"'


def render(target: Target, node: Node) -> str:
    """Return the script for *target* on *node*; the node is written in, since Envoy's Lua does not tell it."""
    path, header = target.path, target.header
    values = {
        "CLUSTER": quoted(target.cluster_name),
        "TAP_ID": quoted(target.tap_id),
        "NODE_ID": quoted(node.id),
        "NODE_CLUSTER": quoted(node.cluster),
        "EXPIRES_AT": _number(target.expires_at_s),
        "BODY_CAP": _number(target.body_cap_bytes),
        "METHOD": _optional(target.method),
        "AUTHORITY": _optional(None if target.authority is None else target.authority.lower()),
        "PATH": _optional(None if path is None else path.value),
        "PATH_IS_PREFIX": "true" if path is not None and path.is_prefix else "false",
        "HEADER": _optional(None if header is None else header[0].lower()),
        "HEADER_VALUE": _optional(None if header is None else header[1]),
        "REDACTED": _set(name.lower() for name in target.redacted_headers),
    }
    # One pass: what a value holds is never looked at again.
    return _PLACEHOLDER.sub(lambda found: values[found[1]], _template())


@cache
def _template() -> str:
    return files(__package__).joinpath("tap.lua").read_text("utf-8")


def _number(value: int) -> str:
    return str(int(value))


def _optional(text: str | None) -> str:
    return "nil" if text is None else quoted(text)


def _set(names: Iterable[str]) -> str:
    # Sorted, since the text is the version: equal targets must render equal scripts.
    return "{" + ", ".join(f"[{quoted(name)}] = true" for name in sorted(names)) + "}"
