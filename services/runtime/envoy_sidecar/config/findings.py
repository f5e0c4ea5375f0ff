"""What is wrong with a piece of configuration, where, and what would be right."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a file; `line` and `column` count from 1."""

    file: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: `path` is the place inside the document (`spec.rules[0].to`), `hint` says what would be right."""

    position: Position
    message: str
    hint: str = ""
    path: str = ""
    severity: Severity = "error"

    def __str__(self) -> str:
        where = f" ({self.path})" if self.path else ""
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.position}: {self.severity}: {self.message}{where}{hint}"


class InvalidConfigurationError(Exception):
    """A configuration that cannot be used; `findings` holds every error that was found, not just the first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(map(str, self.findings)))


def how_many(number: int, one: str, many: str = "") -> str:
    """Return `1 rule`, `2 rules`, or with *many* `2 policies`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as a JSON array of flat objects (file, line, column, severity, message, hint, path)."""
    return json.dumps(
        [
            {**asdict(finding.position), **{k: v for k, v in asdict(finding).items() if k != "position"}}
            for finding in findings
        ],
        indent=2,
    )
