"""A set of limit files, whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from envoy_ratelimit.config.domains import read_domain
from envoy_ratelimit.core.rules import Domain, Rules, compile_rules
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Reader


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """Compiled limits, the files they came from in the order read, and what deserves a second look."""

    rules: Rules
    files: tuple[Path, ...]
    warnings: tuple[Finding, ...]


def load_rules(paths: Sequence[Path]) -> LoadedRules:
    """Read and compile all limits that *paths* (files, and folders with all below them) hold, as YAML or JSON.

    A file holds one domain, or several as YAML documents. Raises InvalidConfigurationError with the findings of all
    files, warnings among them, when any is an error: a limit that silently does not hold is worse than the old one.
    """
    found = read_files(paths, "limit", without_any="error")
    findings = list(found.findings)
    domains: list[Domain] = []
    places: dict[str, Position] = {}
    for file, text in found.texts.items():
        reader = Reader()
        for document in _documents(text, str(file), reader.findings):
            domain = read_domain(document, reader)
            reader.findings.extend(_duplicate(document, domain, places))
            domains.append(domain)
        findings.extend(sorted(reader.findings, key=_place))
    if any(finding.severity == "error" for finding in findings):
        raise InvalidConfigurationError(findings)
    return LoadedRules(compile_rules(domains), tuple(found.texts), tuple(findings))


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


def _place(finding: Finding) -> tuple[int, int]:
    return finding.position.line, finding.position.column


def _duplicate(document: Node, domain: Domain, places: dict[str, Position]) -> list[Finding]:
    node = document.get("domain")
    if node is None or not domain.name:
        return []
    first = places.setdefault(domain.name, node.position)
    if first is node.position:
        return []
    return [
        node.finding(
            f"the domain {domain.name!r} is defined twice", f"the first is at {first}; write both in one"
        )
    ]
