"""Reading an Envoy message out of its JSON or YAML form, where a field may be named in two ways and be left out."""

import re
from typing import NamedTuple

from envoy_sidecar.config.documents import Node

_DURATION = re.compile(r"(\d+(?:\.\d*)?)s")
_TYPED_STRUCT = ("xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct")
_MATCHED = "envoy.extensions.common.matching.v3.ExtensionWithMatcher"


class Typed(NamedTuple):
    """A message in a `google.protobuf.Any`: its full name, and its fields."""

    name: str
    node: Node


def field(node: Node | None, *path: str) -> Node | None:
    """Return what is below *node* by the proto names of fields, written as they are or in camel case; None if absent."""
    for name in path:
        if node is None:
            return None
        found = node.get(name)
        node = found if found is not None else node.get(_camel(name))
    return None if node is None or node.kind == "nothing" else node


def text(node: Node | None, *path: str) -> str:
    """Return a string or the name of an enum's value; empty if there is none."""
    found = field(node, *path)
    return "" if found is None or found.scalar is None else str(found.scalar)


def flag(node: Node | None, *path: str) -> bool:
    """Return a boolean, or one in a wrapper; false if there is none."""
    found = field(node, *path)
    if found is not None and found.mapping is not None:
        found = found.get("value")
    return found is not None and found.scalar is True


def number(node: Node | None, *path: str) -> float | None:
    """Return a number, or one in a wrapper; None if there is none."""
    found = field(node, *path)
    if found is not None and found.mapping is not None:
        found = found.get("value")
    if found is None or isinstance(found.scalar, bool) or not isinstance(found.scalar, int | float):
        return None
    return float(found.scalar)


def seconds(node: Node | None, *path: str) -> float | None:
    """Return a duration (`0.2s`); None if there is none that can be read."""
    matched = _DURATION.fullmatch(text(node, *path))
    return float(matched[1]) if matched else None


def items(node: Node | None, *path: str) -> tuple[Node, ...]:
    """Return the items of a repeated field; nothing if there is none."""
    found = field(node, *path)
    return () if found is None or found.sequence is None else found.sequence


def typed(node: Node | None) -> Typed | None:
    """Return the message in an Any, taken out of a TypedStruct or of a matcher around it; None if it names no type."""
    name = text(node, "@type").rpartition("/")[2]
    if node is None or not name:
        return None
    if name in _TYPED_STRUCT:
        value = field(node, "value")
        inner = text(node, "type_url").rpartition("/")[2]
        return Typed(inner, value) if inner and value is not None else None
    if name == _MATCHED:
        return typed(field(node, "extension_config", "typed_config"))
    return Typed(name, node)


def options(node: Node | None, name: str) -> Node | None:
    """Return the entry *name* of a `typed_extension_protocol_options` or `typed_per_filter_config`, whose keys are free."""
    return node.get(name) if node is not None else None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
