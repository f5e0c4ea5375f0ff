"""`envoy-ratelimit migrate`: what the environment of a reference deployment maps to, and what differs."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.usable import usable
from envoy_ratelimit.migrate import SECRET, SIGNS, STORES, Mapped, is_reference, translate
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE

_NEEDS_A_LOOK = frozenset({"differs", "unsupported", "unknown"})
_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_MARKS = {"same": "✓", "ignored": "·", "differs": "≠", "unsupported": "✗", "unknown": "?"}


def migrate(
    environment: Mapping[str, str], supported: frozenset[str], form: Format, *, env_file: Path | None = None
) -> int:
    """Print what *environment*, or that of *env_file*, maps to; return 1 if something is not the same.

    The file has lines NAME=VALUE, or NAME alone for what this process's own environment has, as `docker run` reads it.
    """
    if env_file is not None:
        try:
            environment = _read(env_file, environment)
        except OSError as error:
            say(f"{env_file}: {error.strerror or error}")
            return EXIT_USAGE
        except ValueError as error:
            say(str(error))
            return EXIT_USAGE
    if not is_reference(environment):
        say(f"this is not the reference's environment, which sets one of {', '.join(sorted(SIGNS))}")
        return EXIT_USAGE
    found = usable(translate(environment, supported, written_for_it=env_file is not None))
    if form == "json":
        print_json([_data(mapped) for mapped in found])
    else:
        rows = [
            (
                _MARKS[mapped.kind],
                ", ".join(mapped.variables) or "(default)",
                f"--{mapped.option.replace('_', '-')} {mapped.shown}" if mapped.option else "",
                mapped.note,
            )
            for mapped in found
        ]
        out = console()
        out.print(table("", ("", "reference", "here", "note"), rows))
        out.print(Text("✓ the same   · needless here   ≠ differs   ✗ cannot be honoured   ? not understood"))
    return EXIT_FINDINGS if any(mapped.kind in _NEEDS_A_LOOK for mapped in found) else EXIT_CLEAN


def _data(mapped: Mapped) -> dict[str, object]:
    data = asdict(mapped)
    data["values"] = [mapped.shown] if mapped.secret or mapped.option in STORES else list(mapped.values)
    data["secret"] = mapped.secret or not SECRET.isdisjoint(mapped.variables)
    return data


def _read(file: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of *file*. Raises OSError, and ValueError with the place of what cannot be read."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        raise ValueError(f"{file}: this is not UTF-8") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ").strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not _NAME.fullmatch(name.strip()):
            # Not the text itself: it may be a secret.
            raise ValueError(f"{file}:{number}:1: this is no variable; write NAME=VALUE")
        if equals:
            found[name.strip()] = value.strip().strip("\"'")
        elif name in environment:
            found[name] = environment[name]
    return found
