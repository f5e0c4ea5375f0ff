"""How commands print: a table for people, or the same as JSON."""

import json
import sys
from typing import Annotated, Literal

from cyclopts import Parameter

from envoy_sidecar.terminal import console, table

__all__ = ["Format", "FormatOption", "console", "print_json", "say", "table"]

Format = Literal["text", "json"]
FormatOption = Annotated[Format, Parameter(help="text for people, json for machines.")]


def print_json(data: object) -> None:
    """Print *data* as JSON."""
    sys.stdout.write(json.dumps(data, indent=2) + "\n")


def say(text: str) -> None:
    """Print a line for people on stderr."""
    sys.stderr.write(text + "\n")
