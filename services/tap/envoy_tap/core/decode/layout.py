"""How JSON and bytes are set out for people."""

import json
import re
from collections.abc import Iterator

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|[{}\[\],:]|[^\s{}\[\],:"]+', re.DOTALL)
_INDENT = "  "
# Deeper than this it would be spaces above all: a level costs its depth on each line.
_MOST_INDENTS = 32
_ROW_BYTES = 16
_PRINTABLE = range(0x20, 0x7F)
_MAX_PROOF_CHARS = 1 << 20


def json_lines(text: str, most_chars: int) -> str:
    """Return the JSON *text* with each member and item on a line of its own, or at least *most_chars* of that.

    Only space changes: numbers, escapes, doubled members and their order stay as they were sent. It need not be
    whole, nor be one value.
    """
    out: list[str] = []
    size, depth, previous = 0, 0, ""
    for found in _TOKEN.finditer(text):
        word = found[0]
        depth -= word in {"}", "]"}
        piece = _before(word, previous, depth) + word + (" " if word == ":" else "")
        depth += word in {"{", "["}
        out.append(piece)
        size += len(piece)
        if size > most_chars:
            break
        previous = word
    return "".join(out)


def is_json(text: str) -> bool:
    """Whether *text* is one JSON object or array."""
    if not text.lstrip()[:1] or text.lstrip()[0] not in "{[" or len(text) > _MAX_PROOF_CHARS:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def hexdump(data: bytes, most_bytes: int) -> str:
    """Return the beginning of *data* in rows of 16 bytes: `00000000  50 4b … |PK..|`."""
    return "\n".join(_rows(data[:most_bytes]))


def _rows(data: bytes) -> Iterator[str]:
    for at in range(0, len(data), _ROW_BYTES):
        row = data[at : at + _ROW_BYTES]
        digits = f"{row[:8].hex(' ')}  {row[8:].hex(' ')}"
        shown = "".join(chr(byte) if byte in _PRINTABLE else "." for byte in row)
        yield f"{at:08x}  {digits:<49}|{shown}|"


def _before(word: str, previous: str, depth: int) -> str:
    line = "\n" + _INDENT * max(0, min(depth, _MOST_INDENTS))
    if word in {"}", "]"}:
        return "" if previous in {"{", "["} else line
    if previous in {"{", "[", ","}:
        return "" if word == "," else line
    if word in {",", ":"} or previous in {"", ":"}:
        return ""
    # A value that follows another: JSON lines, and other things that are not quite JSON.
    return "\n" if depth <= 0 else " "
