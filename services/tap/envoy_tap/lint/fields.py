"""Envoy configuration as a tree: fields by name, in both spellings that proto3's JSON mapping reads."""

import re
from collections.abc import Iterator, Mapping, Sequence

from envoy_sidecar.config.documents import Node, Place
from envoy_sidecar.config.findings import Finding, Position, Severity

ABORTS = "a stock Envoy aborts on this"
REFUSED = "Envoy refuses this"
_TRUE = {"true", "yes", "y", "on"}


def field(node: Node | None, *path: str) -> Node | None:
    """Return what stands at *path* (names as in the .proto) below *node*; None where there is nothing, or null."""
    for name in path:
        if node is None:
            return None
        node = node.get(name) or node.get(_camel(name))
    return None if node is None or node.kind == "nothing" else node


def finding(node: Node, key: str, message: str, hint: str, severity: Severity = "error") -> Finding:
    """Return a finding that stands at the *key* of the mapping *node*, or at the mapping if it has no such key."""
    for name in (key, _camel(key)):
        if name in node.key_positions:
            path = f"{node.path}.{name}" if node.path else name
            return Finding(node.key_positions[name], message, hint, path, severity)
    return Finding(node.position, message, hint, node.path, severity)


def twice(node: Node) -> Iterator[Finding]:
    """Yield the keys of a mapping that are there twice, in one spelling or in both: only one of them is looked at here."""
    both = [
        name for name in node.key_positions if _camel(name) != name and _camel(name) in node.key_positions
    ]
    again = [*node.duplicates, *((name, node.key_positions[name]) for name in both)]
    for name, position in again:
        path = f"{node.path}.{name}" if node.path else name
        yield Finding(position, f"{name} is there twice: Envoy takes what comes last", "write it once", path)


def number(node: Node | None) -> float | None:
    """Return the number at *node*, which may be in quotes, as protobuf's JSON reads it; None for what is none."""
    if node is None or isinstance(node.scalar, bool):
        return None
    text = str(node.scalar)
    for read in (_based, int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None


def _based(text: str) -> int:
    return int(text, 0)


def scalar(node: Node | None, name: str) -> object:
    """Return the scalar at *name* below *node*; None where there is none."""
    found = field(node, name)
    return None if found is None else found.scalar


def text(node: Node | None, name: str) -> str:
    """Return the text at *name* below *node*; empty where there is none."""
    found = scalar(node, name)
    return found if isinstance(found, str) else ""


def truth(node: Node | None, name: str) -> bool:
    """Whether what is at *name* below *node* is true to Envoy, which takes YAML 1.1's words for it, in quotes too."""
    return str(scalar(node, name)).lower() in _TRUE


def items(node: Node | None) -> Sequence[Node]:
    """Return what is listed at *node*; nothing where there is no list."""
    return () if node is None else node.sequence or ()


def unknown(node: Node, known: Sequence[str]) -> list[str]:
    """Return the keys of *node* that are none of *known*, in either spelling."""
    both = {*known, *map(_camel, known)}
    return [name for name in node.mapping or () if name not in both]


def mappings(node: Node) -> Iterator[Node]:
    """Yield all mappings from *node* down, in their order."""
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if found.mapping is not None:
            yield found
            waiting.extend(reversed(found.mapping.values()))
        waiting.extend(reversed(found.sequence or ()))


def tree(value: object, name: str) -> Node:
    """Return JSON data as a tree, for what was never in a file; *name* stands for the file."""
    position = Position(name)

    def node(found: object, place: Place | None) -> Node:
        if isinstance(found, Mapping):
            below = {str(key): node(inner, Place(place, str(key))) for key, inner in found.items()}
            return Node(position, place, mapping=below, key_positions=dict.fromkeys(below, position))
        if isinstance(found, Sequence) and not isinstance(found, str):
            return Node(
                position, place, sequence=tuple(node(each, Place(place, i)) for i, each in enumerate(found))
            )
        scalar = found if isinstance(found, str | int | float | bool | None) else str(found)
        return Node(position, place, scalar=scalar, written=str(found))

    return node(value, None)


def _camel(name: str) -> str:
    return re.sub("_([a-z])", lambda found: found[1].upper(), name)
