"""Where each part of a policy stands in its file."""

from collections.abc import Iterable

from envoy_authz.config.policies import KIND
from envoy_authz.core.policy import Policy
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding, Position

Keys = tuple[str | int, ...]


class Places:
    """The *documents* that policies were read from, without an error."""

    def __init__(self, documents: Iterable[Node]) -> None:
        self._documents: dict[tuple[str, str], Node] = {}
        for document in documents:
            kind, metadata = document.get("kind"), document.get("metadata")
            if kind is None or kind.scalar != KIND or metadata is None:
                continue
            name, namespace = metadata.get("name"), metadata.get("namespace")
            key = (str(namespace.scalar) if namespace else "", str(name.scalar) if name else "")
            self._documents[key] = document

    def finding(self, policy: Policy, keys: Keys, message: str, hint: str) -> Finding:
        """Return a warning at *keys* below `spec` of *policy*, or at the nearest place above that there is."""
        node = self._documents.get((policy.namespace, policy.name))
        if node is None:
            return Finding(Position(policy.full_name), message, hint, severity="warning")
        for key in ("spec", *keys):
            below = _below(node, key)
            if below is None:
                break
            node = below
        return Finding(node.position, message, hint, node.path, severity="warning")

    def at(self, policy: Policy, rule: int) -> str:
        """Return where a rule stands, as `file:line:col`."""
        return str(self.finding(policy, ("rules", rule), "", "").position)

    def of(self, full_name: str, rule: int) -> str:
        """Return the same for a policy by its full name; empty if it is not there."""
        namespace, _slash, name = full_name.rpartition("/")
        if (namespace, name) not in self._documents:
            return ""
        return self.at(Policy(name, namespace), rule)


def _below(node: Node, key: str | int) -> Node | None:
    if isinstance(key, str):
        return node.get(key)
    items = node.sequence or ()
    return items[key] if key < len(items) else None
