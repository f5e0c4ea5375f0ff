"""A folder of policies, whole or not at all."""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

from envoy_authz.authenticators.model import RequestAuthentication
from envoy_authz.config import authentication
from envoy_authz.config.policies import KIND, OUR_API_VERSION, read_policy
from envoy_authz.core.paths import Normalization
from envoy_authz.core.policy import Policy
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """Policies in the order of files and documents, the files they came from, and what deserves a second look.

    `files` are those that hold policies, then those that hold keys. `authentications` say whose tokens count; none
    means that no request is authenticated. `warnings` are findings in the order of their places, none of which is an error.
    `documents` are what was read, for who wants to say where something stands.
    """

    policies: tuple[Policy, ...]
    files: tuple[Path, ...]
    warnings: tuple[Finding, ...]
    authentications: tuple[RequestAuthentication, ...] = ()
    documents: tuple[Node, ...] = field(default=(), repr=False)


def load_policies(
    paths: Sequence[Path],
    *,
    normalization: Normalization = Normalization.BASE,
    root_namespace: str = "istio-system",
) -> LoadedPolicies:
    """Read all policies that *paths* (files, and folders with all below them) hold, as YAML or JSON.

    *normalization* is how paths will be compared, and *root_namespace* the one whose policies apply everywhere.

    Raises InvalidConfigurationError with the findings of all files, warnings among them, when any is an error: part
    of a set of policies can allow more than the whole, when what is missing is a DENY.
    """
    found = read_files(paths, "policy", without_any="warning")
    findings = list(found.findings)
    policies: list[Policy] = []
    authentications: list[RequestAuthentication] = []
    documents: list[Node] = []
    places: dict[tuple[str, str, str], Position] = {}
    for file, text in found.texts.items():
        for document in _documents(text, str(file), findings):
            documents.append(document)
            kind = document.get("kind")
            if kind is not None and kind.scalar == authentication.KIND:
                read, about = authentication.read_request_authentication(document, (OUR_API_VERSION,))
                authentications.extend([] if read is None else [read])
            else:
                policy, about = read_policy(document, normalization)
                policies.extend([] if policy is None else [policy])
            findings.extend(about)
            findings.extend(_duplicate(document, places))
    findings.sort(key=lambda finding: astuple(finding.position))
    if any(finding.severity == "error" for finding in findings):
        raise InvalidConfigurationError(findings)
    findings.extend(_several_namespaces(policies, root_namespace, found.texts))
    key_files = dict.fromkeys(file for one in authentications for file in one.files)
    files = (*found.texts, *key_files)
    return LoadedPolicies(tuple(policies), files, tuple(findings), tuple(authentications), tuple(documents))


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


def _several_namespaces(
    policies: Sequence[Policy], root_namespace: str, files: Iterable[Path]
) -> list[Finding]:
    names = sorted({policy.namespace for policy in policies} - {"", root_namespace})
    if len(names) <= 1:
        return []
    message = f"policies of several namespaces ({', '.join(names)}): a request must say which is its own"
    hint = "set `namespace` in context_extensions, or no ALLOW policy of any of them matches"
    return [Finding(Position(str(next(iter(files)))), message, hint, severity="warning")]


def _duplicate(document: Node, places: dict[tuple[str, str, str], Position]) -> list[Finding]:
    kind, metadata = document.get("kind"), document.get("metadata")
    if kind is None or kind.scalar not in {KIND, authentication.KIND} or metadata is None:
        return []
    node, namespace = metadata.get("name"), metadata.get("namespace")
    if node is None or not isinstance(node.scalar, str):
        return []
    key = (str(namespace.scalar) if namespace else "", node.scalar, str(kind.scalar))
    first = places.setdefault(key, node.position)
    if first is node.position:
        return []
    name = "/".join(part for part in key[:2] if part)
    return [node.finding(f"policy {name} is defined twice", f"the first is at {first}; rename or remove one")]
