"""A shell script that sends the requests again by curl; what a peer sent stands in it as data only."""

import base64
import re
import shlex
from collections.abc import Iterable, Iterator

from envoy_tap.core.exchange import Message
from envoy_tap.export.har import url_of
from envoy_tap.export.http1 import FRAMING, HOP_BY_HOP, TOKEN, plain
from envoy_tap.export.model import About, Entry, told

_HEAD = """\
#!/bin/sh
# {title}
# Set TO to send all of it somewhere else: TO=http://127.0.0.1:8080 sh FILE
"""
# Linux takes 128 KiB in one argument.
_MAX_ARGUMENT_BYTES = 64 << 10
_MIDDLE = " \\\n  "
_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_ORIGIN = re.compile(r"(https?://[^/?#]*)(.*)", re.DOTALL)


def write(entries: Iterable[Entry], about: About) -> Iterator[bytes]:
    """Yield a script for sh: one command each, with comments on what is missing."""
    yield _HEAD.format(title=_comment(about.title)).encode()
    for entry in entries:
        yield told(entry, _commented, lambda _, problem: f"\n# {problem}\n".encode())


def _commented(entry: Entry) -> bytes:
    said = f"\n# {entry.seq}: {_comment('; '.join([_about(entry), *entry.caveats]))}\n".encode()
    request = entry.exchange.request
    return said + (b"# its request was not captured\n" if request is None else command(request))


def command(request: Message) -> bytes:
    """Return the command that sends *request*, with a line's end."""
    head, body = plain(request, HOP_BY_HOP | FRAMING | {"host"})
    method = (request.first(":method") or b"").decode("latin-1")
    origin = _ORIGIN.fullmatch(url_of(request))
    url = f'"${{TO:-{origin[1]}}}"{_quoted(origin[2].encode())}' if origin and _is_plain(origin[1]) else ""
    options = [
        # Not --location, and nothing but HTTP; [] and {} in the URL mean themselves, and .. stays.
        "curl --include --globoff --path-as-is --proto =http,https",
        f"--url {url or _quoted(url_of(request).encode())}",
        *([f"--request {_quoted(method.encode())}"] if TOKEN.fullmatch(method) and method != "HEAD" else []),
        *(["--head"] if method == "HEAD" else []),
        *(f"--header {_quoted(_header(name, value))}" for name, value in head if _is_shown(value, "\t")),
    ]
    left_out = [name for name, value in head if not _is_shown(value, "\t")]
    said = f"# left out, as a terminal would obey it: {', '.join(left_out)}\n".encode() if left_out else b""
    return said + _with_body(options, body)


def _with_body(options: list[str], body: bytes) -> bytes:
    if not body:
        return _lines(options)
    if len(body) <= _MAX_ARGUMENT_BYTES and _is_shown(body, "\t\n"):
        # Not --data, by which @ would name a file.
        return _lines([*options, f"--data-raw {_quoted(body)}"])
    packed = base64.encodebytes(body)
    # The underscore is in no base64.
    return b"base64 -d <<'_END' | " + _lines([*options, "--data-binary @-"]) + packed + b"_END\n"


def _header(name: str, value: bytes) -> bytes:
    # By curl's rules `name:` takes a header away, and `name;` sends it empty.
    return f"{name}: ".encode() + value if value.strip() else f"{name};".encode()


def _lines(options: list[str]) -> bytes:
    return _MIDDLE.join(options).encode("utf-8", "surrogateescape") + b"\n"


def _quoted(value: bytes) -> str:
    return shlex.quote(value.decode("utf-8", "surrogateescape"))


def _is_shown(value: bytes, allowed: str) -> bool:
    """Whether a terminal that shows the script shows *value*, and does not obey it."""
    try:
        return all(char.isprintable() or char in allowed for char in value.decode())
    except UnicodeDecodeError:
        return False


def _is_plain(origin: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9.:/_\[\]-]+", origin) is not None


def _about(entry: Entry) -> str:
    summary = entry.summary
    return f"{summary['method']} {summary['path']}, answered by {summary['status'] or 'nothing'}"


def _comment(text: str) -> str:
    return _NOT_PRINTABLE.sub("?", text)
