"""Just enough of JSON Schema (2020-12) to check the published one: only the keywords it uses, and no other."""

import re
from collections.abc import Callable, Mapping
from typing import Any

_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
}
_SAID = frozenset({"$schema", "$id", "$defs", "title", "description", "default", "then", "else"})


def accepts(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any] | None = None) -> bool:
    """Tell whether *value* is valid; KeyError for a keyword that is not known here."""
    whole = root if root is not None else schema
    return all(_KEYWORDS[keyword](schema, value, whole) for keyword in schema if keyword not in _SAID)


def _type(schema: Mapping[str, Any], value: Any, _root: Mapping[str, Any]) -> bool:
    types = schema["type"]
    return any(_TYPES[name](value) for name in ([types] if isinstance(types, str) else types))


def _properties(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    return all(
        accepts(below, value[key], root) for key, below in schema["properties"].items() if key in value
    )


def _if(schema: Mapping[str, Any], value: Any, root: Mapping[str, Any]) -> bool:
    branch = schema.get("then" if accepts(schema["if"], value, root) else "else")
    return branch is None or accepts(branch, value, root)


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_KEYWORDS: Mapping[str, Callable[[Mapping[str, Any], Any, Mapping[str, Any]], bool]] = {
    "type": _type,
    "properties": _properties,
    "if": _if,
    "$ref": lambda schema, value, root: accepts(
        root["$defs"][schema["$ref"].rpartition("/")[2]], value, root
    ),
    "additionalProperties": lambda schema, value, _: (
        not isinstance(value, dict) or value.keys() <= schema["properties"].keys()
    ),
    "required": lambda schema, value, _: (
        not isinstance(value, dict) or value.keys() >= set(schema["required"])
    ),
    "items": lambda schema, value, root: (
        not isinstance(value, list) or all(accepts(schema["items"], item, root) for item in value)
    ),
    "enum": lambda schema, value, _: any(_same(value, one) for one in schema["enum"]),
    "const": lambda schema, value, _: _same(value, schema["const"]),
    "pattern": lambda schema, value, _: (
        not isinstance(value, str) or re.search(schema["pattern"], value) is not None
    ),
    "minLength": lambda schema, value, _: not isinstance(value, str) or len(value) >= schema["minLength"],
    "minimum": lambda schema, value, _: not _number(value) or value >= schema["minimum"],
    "maximum": lambda schema, value, _: not _number(value) or value <= schema["maximum"],
    "not": lambda schema, value, root: not accepts(schema["not"], value, root),
    "anyOf": lambda schema, value, root: any(accepts(one, value, root) for one in schema["anyOf"]),
    "allOf": lambda schema, value, root: all(accepts(one, value, root) for one in schema["allOf"]),
}
