"""Reading nodes strictly: each key is known, or said not to be supported yet, or unknown; nothing is passed over."""

import re
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding

Problem = tuple[str, str]
"""What is wrong with a string, and what would be right."""

_AMBIGUOUS = re.compile(r"[+-]?0[0-9_]+")
_NONE: Mapping[str, str] = {}


class Reader:
    """Takes nodes apart and collects every finding on the way.

    What can't be read comes back empty; a caller who gets errors must not use what was read.
    """

    __slots__ = ("findings",)

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def report(self, node: Node, message: str, hint: str = "") -> None:
        """Report an error that stands at *node*."""
        self.findings.append(node.finding(message, hint))

    def warn(self, node: Node, message: str, hint: str) -> None:
        """Report what is allowed, and probably not meant."""
        self.findings.append(Finding(node.position, message, hint, node.path, severity="warning"))

    def fields(self, node: Node, known: Collection[str], later: Mapping[str, str] = _NONE) -> dict[str, Node]:
        """Return the *known* fields of a mapping; reports any other, and any that comes twice.

        *later* are keys with a meaning that the service doesn't have yet, with what to do instead.
        """
        if node.mapping is None:
            self.report(node, f"must be a mapping, is {node.kind}", "write it as `key: value`")
            return {}
        for key in node.mapping:
            if key not in known:
                self._unknown(node, key, known, later)
        for key, position in node.duplicates:
            hint = f"the first is in line {node.key_positions[key].line}; a second one would be lost"
            self.findings.append(Finding(position, f"{key!r} is given twice", hint, _below(node, key)))
        return {key: value for key, value in node.mapping.items() if key in known}

    def valued(self, node: Node, fields: Mapping[str, Node]) -> dict[str, Node]:
        """Return those of the *fields* of *node* that have a value; reports the others."""
        for key, value in fields.items():
            if value.kind == "nothing":
                position = node.key_positions[key]
                finding = Finding(position, f"{key!r} has no value", "write one, or remove it", value.path)
                self.findings.append(finding)
        return {key: value for key, value in fields.items() if value.kind != "nothing"}

    def items(self, node: Node | None) -> tuple[Node, ...]:
        """Return the items of a list; nothing when there is no node."""
        if node is None:
            return ()
        if node.sequence is None:
            self.report(node, f"must be a list, is {node.kind}", "write it as a list: [...]")
            return ()
        return node.sequence

    def some_items(self, node: Node, hint: str) -> tuple[Node, ...]:
        """Return the items of a list that must not be empty; *hint* says what to write instead of an empty one."""
        if node.sequence == ():
            self.report(node, "is an empty list", hint)
        return self.items(node)

    def text(self, node: Node) -> str:
        """Return a string."""
        if isinstance(node.scalar, str):
            return node.scalar
        hint = "put it in quotes" if node.kind in {"boolean", "integer", "number"} else ""
        self.report(node, f"must be text, is {node.kind}", hint)
        return ""

    def checked(self, node: Node, check: Callable[[str], Problem | None]) -> str:
        """Return a string that is not empty and that *check* finds no problem with."""
        value = self.text(node)
        if node.scalar == "":
            self.report(node, "is an empty string", "remove it, or write a value")
        problem = check(value) if value else None
        if problem is not None:
            self.report(node, *problem)
        return value

    def strings(self, node: Node | None, check: Callable[[str], Problem | None]) -> tuple[str, ...]:
        """Return a list of strings, none of which *check* finds a problem with; nothing when there is no node."""
        if node is None:
            return ()
        items = self.some_items(node, "remove the field to leave it open, or list at least one value")
        return tuple(self.checked(item, check) for item in items)

    def flag(self, node: Node | None) -> bool:
        """Return a boolean; false when there is no node."""
        if node is None:
            return False
        if not isinstance(node.scalar, bool):
            self.report(node, f"must be a boolean, is {node.kind}", "write true or false")
        return node.scalar is True

    def whole(self, node: Node, most: int) -> int:
        """Return a whole number from 0 to *most*."""
        number = node.scalar
        if isinstance(number, int) and not isinstance(number, bool):
            if _AMBIGUOUS.fullmatch(node.written):
                message = f"{node.written} is octal to some readers of YAML, and decimal to others"
                self.report(node, message, f"write {node.written.lstrip('+0_') or 0}")
            if 0 <= number <= most:
                return number
            self.report(node, f"{number} is out of range", f"write a whole number from 0 to {most}")
        else:
            self.report(node, f"must be an integer, is {node.kind}", f"write a whole number from 0 to {most}")
        return 0

    def _unknown(self, node: Node, key: str, known: Collection[str], later: Mapping[str, str]) -> None:
        if key in later:
            message, hint = f"{key!r} is not supported yet", later[key]
        else:
            close = get_close_matches(key, (*known, *later), n=1)
            message = f"unknown key {key!r}"
            hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(sorted(known))}"
        self.findings.append(Finding(node.key_positions[key], message, hint, _below(node, key)))


def _below(node: Node, key: str) -> str:
    return f"{node.path}.{key}" if node.path else key
