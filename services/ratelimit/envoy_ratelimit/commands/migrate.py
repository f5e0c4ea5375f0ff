"""`envoy-ratelimit migrate`: what the environment of a reference deployment maps to, and what differs."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from rich.text import Text

from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.migrate import SECRET, Mapped, is_reference, translate
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE

_NEEDS_A_LOOK = frozenset({"differs", "unsupported"})
_MARKS = {"same": "✓", "ignored": "·", "differs": "≠", "unsupported": "✗"}


def migrate(
    environment: Mapping[str, str], supported: frozenset[str], form: Format, *, env_file: Path | None = None
) -> int:
    """Print what *environment*, or that of *env_file* (NAME=VALUE lines), maps to; return 1 if something is not the same."""
    if env_file is not None:
        try:
            environment = _read(env_file.read_text("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            say(f"{env_file}: {error}")
            return EXIT_USAGE
    if not is_reference(environment):
        say("none of the reference's own variables is set: see the list in move-from-the-go-service.md")
        return EXIT_USAGE
    found = translate(environment, supported)
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
        out.print(Text("✓ the same   · needless here   ≠ differs   ✗ cannot be honoured"))
    return EXIT_FINDINGS if any(mapped.kind in _NEEDS_A_LOOK for mapped in found) else EXIT_CLEAN


def _data(mapped: Mapped) -> dict[str, object]:
    data = asdict(mapped)
    data["values"] = [mapped.shown] if mapped.secret else list(mapped.values)
    data["secret"] = mapped.secret or not SECRET.isdisjoint(mapped.variables)
    return data


def _read(text: str) -> dict[str, str]:
    lines = (line.strip().removeprefix("export ") for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}
