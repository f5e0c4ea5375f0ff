"""Limits that stand in no file: a text, or documents that another source made."""

from collections.abc import Iterable
from dataclasses import dataclass

from envoy_ratelimit.config.claims import by_domain, put_together, read_parts
from envoy_ratelimit.config.domains import warn_of_unknown
from envoy_ratelimit.core.rules import Defaults, Rules, compile_rules
from envoy_sidecar.config.documents import Node, Scalar, read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Reader

_AS_WRITTEN = Defaults()


@dataclass(frozen=True, slots=True)
class InlineRules:
    """Compiled limits, and what deserves a second look."""

    rules: Rules
    warnings: tuple[Finding, ...]


def load_text(text: str, name: str = "<text>", defaults: Defaults = _AS_WRITTEN) -> InlineRules:
    """Read and compile the domains of a YAML or JSON text; findings call it *name*.

    Raises InvalidConfigurationError with all findings when any is an error.
    """
    return load_nodes(read_documents(text, name), defaults)


def load_nodes(
    documents: Iterable[Node], defaults: Defaults = _AS_WRITTEN, *, merge: bool = False
) -> InlineRules:
    """Compile the domains that *documents* are, one each, as strictly as from files; *merge* puts them together.

    Raises InvalidConfigurationError with the findings of all documents when any is an error.
    """
    reader = Reader()
    domains = by_domain(read_parts(documents, reader, merge=merge))
    if any(finding.severity == "error" for finding in reader.findings):
        raise InvalidConfigurationError(reader.findings)
    if merge:
        for parts in domains:
            warn_of_unknown(parts, reader)
    return InlineRules(compile_rules(map(put_together, domains), defaults), tuple(reader.findings))


def node_of(value: object, position: Position, path: str = "") -> Node:
    """Turn dicts, lists and scalars into a node; all of it stands at *position*."""
    if isinstance(value, dict):
        mapping = {
            str(key): node_of(item, position, f"{path}.{key}" if path else str(key))
            for key, item in value.items()
        }
        return Node(position, path, mapping=mapping, key_positions=dict.fromkeys(mapping, position))
    if isinstance(value, list):
        items = tuple(node_of(item, position, f"{path}[{place}]") for place, item in enumerate(value))
        return Node(position, path, sequence=items)
    scalar: Scalar = value if isinstance(value, str | int | float | bool) or value is None else str(value)
    return Node(position, path, scalar=scalar, written=str(value))
