"""A set of limit files: each whole or not at all, and a bad one does not take the others with it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from envoy_ratelimit.config.domains import read_domain
from envoy_ratelimit.core.rules import AS_WRITTEN, Defaults, Domain, Rules, compile_rules
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Reader

Placed = tuple[Domain, Position]
"""A domain, and where its name stands."""


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """Compiled limits, the files they came from in the order read, and what deserves a second look.

    `errors` are of files that are left out, or whose last good limits hold (these are among the `files`).
    """

    rules: Rules
    files: tuple[Path, ...]
    warnings: tuple[Finding, ...]
    errors: tuple[Finding, ...] = ()
    by_file: dict[Path, tuple[Placed, ...]] = field(default_factory=dict, repr=False)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: first the errors."""
        return (*self.errors, *self.warnings)


def load_rules(
    paths: Sequence[Path],
    *,
    strict: bool = False,
    merge: bool = False,
    previous: LoadedRules | None = None,
    defaults: Defaults = AS_WRITTEN,
) -> LoadedRules:
    """Read and compile all limits that *paths* (files, and folders with all below them) hold, as YAML or JSON.

    A file holds one domain, or several as YAML documents. A file with an error is used as it was in *previous*, if it
    was there, and else left out; its errors are returned. With *strict* any error is raised instead. With *merge*
    several files may hold one domain: their descriptors are put together, and none may come twice.

    Raises InvalidConfigurationError with the findings of all files, warnings among them, when there is nothing left to
    use: a limit that silently does not hold is worse than the old one.
    """
    found = read_files(paths, "limit", without_any="error")
    findings = list(found.findings)
    before = previous.by_file if previous is not None else {}
    by_file: dict[Path, tuple[Placed, ...]] = {
        path: placed for path, placed in before.items() if _unreadable(path, found.findings)
    }
    merged = _Merged(merge=merge)
    for file, text in found.texts.items():
        reader = Reader()
        placed = _read(text, str(file), reader, whole=not merge)
        if not _has_error(reader.findings):
            reader.findings.extend(merged.conflicts(placed))
        findings.extend(sorted(reader.findings, key=_place))
        if not _has_error(reader.findings):
            by_file[file] = placed
        elif file in before and not merged.conflicts(before[file]):
            by_file[file] = placed = before[file]
        else:
            continue
        merged.add(placed)
    errors = tuple(finding for finding in findings if finding.severity == "error")
    if errors and (strict or not by_file):
        raise InvalidConfigurationError(findings)
    warnings = tuple(finding for finding in findings if finding.severity != "error")
    for placed in by_file.values():
        merged.add(placed)  # those that could not be read, as they were
    return LoadedRules(compile_rules(merged.domains(), defaults), tuple(by_file), warnings, errors, by_file)


class _Merged:
    """The domains of all files so far."""

    def __init__(self, *, merge: bool) -> None:
        self._merge = merge
        self._added: dict[str, list[Placed]] = {}

    def domains(self) -> list[Domain]:
        return [
            Domain(name, tuple(descriptor for domain, _ in parts for descriptor in domain.descriptors))
            for name, parts in self._added.items()
        ]

    def add(self, placed: Sequence[Placed]) -> None:
        for one in placed:
            parts = self._added.setdefault(one[0].name, [])
            if one not in parts and not self._conflict(*one):
                parts.append(one)

    def conflicts(self, placed: Sequence[Placed]) -> list[Finding]:
        """Return what of a file cannot be beside the files so far."""
        return [finding for one in placed if (finding := self._conflict(*one)) is not None]

    def _conflict(self, domain: Domain, position: Position) -> Finding | None:
        parts = self._added.get(domain.name, [])
        if parts and not self._merge:
            message = f"the domain {domain.name!r} is defined twice"
            return Finding(position, message, f"the first is at {parts[0][1]}; write both in one", "domain")
        own = {(descriptor.key, descriptor.value) for descriptor in domain.descriptors}
        for other, where in parts:
            for descriptor in other.descriptors:
                if (descriptor.key, descriptor.value) in own:
                    name = descriptor.key + (f"_{descriptor.value}" if descriptor.value else "")
                    message = f"{name!r} is in this domain at {where} as well"
                    return Finding(position, message, "remove one", "descriptors")
        return None


def _read(text: str, file: str, reader: Reader, *, whole: bool) -> tuple[Placed, ...]:
    """Read a file; reports a domain that is in it twice."""
    placed: list[Placed] = []
    here = _Merged(merge=not whole)
    for document in _documents(text, file, reader.findings):
        domain = read_domain(document, reader, whole=whole)
        name = document.get("domain")
        one = (domain, name.position if name is not None else document.position)
        if domain.name:
            reader.findings.extend(here.conflicts([one]))
            here.add([one])
        placed.append(one)
    return tuple(placed)


def _documents(text: str, file: str, findings: list[Finding]) -> list[Node]:
    try:
        documents = read_documents(text, file)
    except InvalidConfigurationError as error:
        findings.extend(error.findings)
        return []
    if not documents:
        hint = "write `domain: …`, or remove the file"
        findings.append(Finding(Position(file), "this file holds no domain", hint))
    return documents


def _has_error(findings: Sequence[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)


def _unreadable(file: Path, findings: Sequence[Finding]) -> bool:
    """Tell whether *file*, or a folder above it, could not be read."""
    return any(
        file == at or at in file.parents for at in (Path(finding.position.file) for finding in findings)
    )


def _place(finding: Finding) -> tuple[int, int]:
    return finding.position.line, finding.position.column
