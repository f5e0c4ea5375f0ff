"""The table of docs/tap-drivers.md, of what the suite found: `python -m tests.conformance.tap.table` writes it."""

from collections.abc import Mapping
from pathlib import Path

from envoy_tap.drivers.choice import DRIVERS
from envoy_tap.drivers.port import Can
from tests.conformance.tap.rigs import TRIED

PAGE = Path(__file__).parents[3] / "docs" / "tap-drivers.md"
BEGIN, END = "<!-- made by tests/conformance/tap -->\n", "<!-- end -->\n"


def table(found: Mapping[str, frozenset[Can]]) -> str:
    """Return the table of *found*, by driver."""
    lines = [f"| | {' | '.join(f'`{name}`' for name in found)} |", f"|---|{'---|' * len(found)}"]
    lines += [
        f"| {can} | {' | '.join('yes' if can in cans else 'no' for cans in found.values())} |" for can in Can
    ]
    return "\n".join(lines) + "\n"


def declared() -> dict[str, frozenset[Can]]:
    """Return what those drivers declare that the suite holds to it."""
    return {name: DRIVERS[name].can for name in TRIED}


def written() -> str:
    """Return the table as it stands in the page."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]


if __name__ == "__main__":
    text = PAGE.read_text("utf-8")
    PAGE.write_text(text.replace(f"{BEGIN}{written()}{END}", f"{BEGIN}{table(declared())}{END}"), "utf-8")
