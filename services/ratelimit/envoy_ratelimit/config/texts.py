"""Texts as the reference takes them."""

from collections.abc import Collection

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.strict import Reader


def text(node: Node, reader: Reader) -> str:
    """Return a text; whole numbers and booleans may stand without quotes, as the reference has it.

    They are taken only as they are spelled: 0x10 is not the text "16".
    """
    if isinstance(node.scalar, int) and node.written == str(node.scalar).lower():
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
