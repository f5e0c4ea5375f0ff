"""A folder of policies, whole or not at all."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from envoy_authz.config.policies import KIND, read_policy
from envoy_authz.core.policy import Policy
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """Policies in the order of files and documents, the files they came from, and what deserves a second look.

    `warnings` are findings in the order of their places, none of which is an error.
    """

    policies: tuple[Policy, ...]
    files: tuple[Path, ...]
    warnings: tuple[Finding, ...]


def load_policies(paths: Sequence[Path]) -> LoadedPolicies:
    """Read all policies that *paths* (files, and folders with all below them) hold, as YAML or JSON.

    Raises InvalidConfigurationError with the findings of all files, warnings among them, when any is an error: part
    of a set of policies can allow more than the whole, when what is missing is a DENY.
    """
    found = read_files(paths, "policy", without_any="warning")
    findings = list(found.findings)
    policies: list[Policy] = []
    places: dict[tuple[str, str], Position] = {}
    for file, text in found.texts.items():
        for document in _documents(text, str(file), findings):
            policy, about = read_policy(document)
            findings.extend(about)
            findings.extend(_duplicate(document, places))
            if policy is not None:
                policies.append(policy)
    findings.sort(key=lambda finding: astuple(finding.position))
    if any(finding.severity == "error" for finding in findings):
        raise InvalidConfigurationError(findings)
    return LoadedPolicies(tuple(policies), tuple(found.texts), tuple(findings))


def _documents(text: str, file: str, findings: list[Finding]) -> list[Node]:
    try:
        documents = read_documents(text, file)
    except InvalidConfigurationError as error:
        findings.extend(error.findings)
        return []
    if not documents:
        hint = "remove the file, or write the policies that it is to hold"
        findings.append(Finding(Position(file), "this file holds no policy", hint, severity="warning"))
    return documents


def _duplicate(document: Node, places: dict[tuple[str, str], Position]) -> list[Finding]:
    kind, metadata = document.get("kind"), document.get("metadata")
    if kind is None or kind.scalar != KIND or metadata is None:
        return []
    node, namespace = metadata.get("name"), metadata.get("namespace")
    if node is None or not isinstance(node.scalar, str):
        return []
    key = (str(namespace.scalar) if namespace else "", node.scalar)
    first = places.setdefault(key, node.position)
    if first is node.position:
        return []
    name = "/".join(part for part in key if part)
    return [node.finding(f"policy {name} is defined twice", f"the first is at {first}; rename or remove one")]
