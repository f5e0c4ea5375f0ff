"""What the doctor says: a finding, why it matters, and a fragment of configuration that mends it."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ruamel.yaml import YAML

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import how_many

Service = Literal["authz", "ratelimit", "tap"]
Severity = Literal["error", "warning", "note"]
SERVICES: tuple[Service, ...] = ("authz", "ratelimit", "tap")
_NO_FOLDING = 10_000
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, slots=True)
class Mend:
    """A fragment that mends something.

    The keys of a mapping are set in the one at `at`, in place of what they had there. A list holds items to be put among
    those there. `into` says in words what `at` is, which is None for what isn't there at all.
    """

    into: str
    at: Node | None
    fragment: dict[str, object] | list[object]

    @property
    def text(self) -> str:
        """The fragment as YAML."""
        stream = io.StringIO()
        yaml = YAML()
        yaml.width = _NO_FOLDING
        yaml.dump(self.fragment, stream)
        return stream.getvalue()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding: `check` names it for `--ignore`, `where` is the value that it is about, `why` says what comes of it."""

    check: str
    service: Service
    severity: Severity
    where: Node
    message: str
    why: str
    mends: tuple[Mend, ...] = field(default=())

    def as_data(self, *, live: bool) -> dict[str, object]:
        """Return this as a flat object; a *live* configuration has places, and no lines."""
        position = self.where.position
        return {
            "file": position.file,
            "line": None if live else position.line,
            "column": None if live else position.column,
            "path": self.where.path,
            "service": self.service,
            "check": self.check,
            "severity": self.severity,
            "message": self.message,
            "why": self.why,
            "mends": [
                {"into": mend.into, "path": mend.at.path if mend.at else "", "fragment": mend.text}
                for mend in self.mends
            ],
        }

    def as_text(self, *, live: bool) -> str:
        """Return this as lines for a terminal."""
        place = self.where.position.file if live else str(self.where.position)
        lines = [f"{place}: {self.severity}: {self.service}: {self.message} [{self.check}]"]
        if self.where.path:
            lines.append(f"    at:   {'.' if live else ''}{self.where.path}")
        lines.append(f"    why:  {self.why}")
        for mend in self.mends:
            lines.append(f"    mend: {mend.into}")
            lines.extend(f"          {line}" for line in mend.text.splitlines())
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the configuration on which a service depends; `into` says in words which one `node` is."""

    service: Service
    node: Node
    into: str

    def found(
        self,
        check: str,
        severity: Severity,
        message: str,
        why: str,
        *,
        mend: dict[str, object],
        where: Node | None = None,
    ) -> Diagnosis:
        """Return a finding about this part, or about what stands at *where* in it, that *mend* mends."""
        mends = (Mend(self.into, self.node, mend),)
        return Diagnosis(check, self.service, severity, where or self.node, message, why, mends)


def as_json(diagnoses: Sequence[Diagnosis], *, live: bool) -> str:
    """Return the findings as a JSON array of flat objects."""
    return json.dumps([diagnosis.as_data(live=live) for diagnosis in diagnoses], indent=2)


def summary(diagnoses: Sequence[Diagnosis], services: Sequence[Service]) -> str:
    """Return one line a service: how much of each severity there is."""
    lines = []
    for service in services:
        counts = [
            (sum(each.service == service and each.severity == severity for each in diagnoses), severity)
            for severity in SEVERITIES
        ]
        said = [how_many(count, severity) for count, severity in counts if count]
        lines.append(f"{service}: {', '.join(said) or 'nothing to say'}")
    return "\n".join(lines)
