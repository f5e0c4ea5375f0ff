"""Fields as the reference takes them: what it lets pass without a word is a warning here, and means the same."""

from collections.abc import Collection

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Reader

REFERENCE_KEYS = frozenset(
    {
        *("domain", "descriptors", "key", "value", "rate_limit", "metadata"),
        *("unit", "requests_per_unit", "unlimited", "name", "replaces"),
        *("shadow_mode", "quota_mode", "detailed_metric", "value_to_metric", "share_threshold"),
    }
)
"""All keys of the reference. It knows no others, but passes over these wherever they stand."""
_NEEDED = frozenset({"domain", "key", "unit"})
# What YAML 1.1 calls a boolean, and YAML 1.2 a text.
_OLD_BOOLEANS = {
    **dict.fromkeys(("y", "yes", "on"), True),
    **dict.fromkeys(("n", "no", "off"), False),
}


def fields_of(node: Node, known: Collection[str], reader: Reader) -> dict[str, Node]:
    """Return the *known* fields of a mapping that have a value; see Reader.fields.

    As in the reference, one of its keys that has no value counts as not given, and one that is known elsewhere only
    does nothing. Both are warnings; the same is an error for a key that must have a value, or that is ours.
    """
    elsewhere = REFERENCE_KEYS & (node.mapping or {}).keys()
    found = reader.fields(node, elsewhere | set(known))
    for key in found.keys() - set(known):
        _warn_at(node, key, reader, f"{key!r} does nothing here", f"known here: {', '.join(sorted(known))}")
    own = {key: value for key, value in found.items() if key in known}
    lenient = REFERENCE_KEYS - _NEEDED
    for key, value in own.items():
        if key in lenient and value.kind == "nothing":
            _warn_at(
                node, key, reader, f"{key!r} has no value, as if it were not there", "write one, or remove it"
            )
    strict = {key: value for key, value in own.items() if key not in lenient or value.kind != "nothing"}
    return reader.valued(node, strict)


def _warn_at(node: Node, key: str, reader: Reader, message: str, hint: str) -> None:
    path = f"{node.path}.{key}" if node.path else key
    reader.findings.append(Finding(node.key_positions[key], message, hint, path, severity="warning"))


def flag(node: Node | None, reader: Reader) -> bool:
    """Return a boolean, also as YAML 1.1 writes it; false when there is no node."""
    if node is not None and isinstance(node.scalar, str):
        found = _OLD_BOOLEANS.get(node.scalar.lower())
        if found is not None:
            word = "true" if found else "false"
            reader.warn(
                node, f"{node.scalar} is {word} to the reference, and a text to others", f"write {word}"
            )
            return found
    return reader.flag(node)


def text(node: Node, reader: Reader) -> str:
    """Return a text; whole numbers and booleans may stand without quotes, as they are spelled: 0x10 is "0x10"."""
    if isinstance(node.scalar, int):
        return node.written
    return reader.text(node)


def required_text(node: Node, fields: dict[str, Node], key: str, reader: Reader) -> str:
    """Return the text of a field that must be there, and not empty."""
    field = fields.get(key)
    if field is None:
        if node.mapping is not None and key not in node.mapping:
            reader.report(node, f"{key} is missing", f"write `{key}: …`")
        return ""
    found = text(field, reader)
    if field.scalar == "":
        reader.report(field, f"{key} must not be empty", "write one")
    return found


def one_of(node: Node | None, known: Collection[str], reader: Reader) -> str | None:
    """Return one of the *known* words; None when there is no node, or it is another one."""
    if node is None:
        return None
    found = reader.text(node)
    if found in known:
        return found
    if isinstance(node.scalar, str):
        reader.report(node, f"{found!r} is not known here", f"write one of {', '.join(known)}")
    return None
