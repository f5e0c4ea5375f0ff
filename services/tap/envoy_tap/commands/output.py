"""What commands write: results on stdout, everything else on stderr; text for people, JSON for programs."""

import json
import re
import sys
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.cells import cell_len
from rich.console import Console, RenderableType

from envoy_tap.shown import plain

Format = Literal["text", "json"]
FormatOption = Annotated[Format, Parameter(name="--format", help="text for people, json for programs.")]

# A name, without what it is compared by; or all up to what ends a word.
_WORD = re.compile(r"""[A-Za-z_][\w.]*|[^\s()\[\]"']+|.?""")


class UsageError(Exception):
    """What was typed cannot be meant; the message is for whom it was."""


def write(text: str) -> None:
    """Write a result of a line or more."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(data: Any, *, indent: int | None = 2) -> None:
    """Write a result as JSON."""
    write(json.dumps(data, indent=indent, separators=None if indent else (",", ":")))


def note(text: str) -> None:
    """Say something beside the result."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def render(found: RenderableType) -> None:
    """Write a result in the terminal's width and colours, if it is one."""
    Console(highlight=False).print(found, soft_wrap=isinstance(found, str))


def underlined(text: str, position: int) -> str:
    """Return the line of *text* in which the character at *position* stands, and below it a mark under its word."""
    position = max(0, min(position, len(text)))
    start = text.rfind("\n", 0, position) + 1
    line = text[start:].partition("\n")[0]
    word = _WORD.match(line, position - start)
    before, marked = plain(line[: position - start]), plain(word[0] if word else "")
    return f"  {plain(line)}\n  {' ' * cell_len(before)}{'^' * max(1, cell_len(marked))}"
