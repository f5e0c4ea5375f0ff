"""YAML documents as plain nodes that know their position, so that every finding can say `file:line:col`.

Bounded on purpose: aliases may not blow a small file up to a large tree, nor may nesting exhaust the stack.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position

MAX_NODES = 2_000_000
MAX_DEPTH = 64

Scalar = str | int | float | bool | None
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_CONSTRUCT: dict[str, Callable[[str], Scalar]] = {
    "int": lambda text: _integer(text.replace("_", "")),
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")),
    "bool": lambda text: text.lower() == "true",
    "null": lambda _text: None,
}


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return int(text)  # 010: a zero in front means nothing in YAML 1.2


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document.

    Exactly one of three kinds: a mapping (`mapping` is a dict of nodes), a sequence (`sequence` is a tuple of nodes),
    or else a scalar (`scalar`, and `written` as it is spelled, without quotes). `path` is the place inside the document (`descriptors[0].key`). `key_positions` holds
    where each key of a mapping stands; `duplicates` lists keys that came again, with the position of the repetition.
    """

    position: Position
    path: str
    scalar: Scalar = None
    written: str = ""
    mapping: dict[str, "Node"] | None = None
    sequence: tuple["Node", ...] | None = None
    key_positions: dict[str, Position] = field(default_factory=dict)
    duplicates: tuple[tuple[str, Position], ...] = ()

    @property
    def kind(self) -> str:
        """What this is, in the words of a finding: mapping, list, text, integer, number, boolean or nothing."""
        if self.mapping is not None:
            return "mapping"
        if self.sequence is not None:
            return "list"
        names = {str: "text", bool: "boolean", int: "integer", float: "number"}
        return names.get(type(self.scalar), "nothing")

    def get(self, key: str) -> "Node | None":
        """Return the value of *key*; None if this is no mapping or has no such key."""
        return self.mapping.get(key) if self.mapping is not None else None

    def finding(self, message: str, hint: str = "") -> Finding:
        """Return an error that stands at this value."""
        return Finding(self.position, message, hint, self.path)

    def plain(self) -> object:
        """Return the value as dicts, lists and scalars."""
        if self.mapping is not None:
            return {key: value.plain() for key, value in self.mapping.items()}
        if self.sequence is not None:
            return [value.plain() for value in self.sequence]
        return self.scalar


def read_documents(text: str, file: str) -> list[Node]:
    """Parse all documents of a YAML (1.2) or JSON text; empty ones are left out.

    Raises InvalidConfigurationError with the position when the text is not YAML, nests deeper than MAX_DEPTH, or
    unfolds to more than MAX_NODES values.
    """
    try:
        return [node for node in _documents(text, file) if node.kind != "nothing"]
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(file, mark.line + 1, mark.column + 1) if mark else Position(file)
        message = " ".join(part for part in (error.context, error.problem) if part) or "this is not YAML"
        raise InvalidConfigurationError([Finding(position, message)]) from None
    except (YAMLError, OverflowError) as error:  # OverflowError: an escape beyond Unicode, "\\U99999999"
        raise InvalidConfigurationError([Finding(Position(file), f"this is not YAML: {error}")]) from None
    except RecursionError:
        message = f"nested deeper than {MAX_DEPTH} levels"
        raise InvalidConfigurationError([Finding(Position(file), message)]) from None


def _documents(text: str, file: str) -> Iterator[Node]:
    reader = _Reader(file)
    for root in YAML(typ="rt", pure=True).compose_all(text):
        yield reader.read(root, "", 0)


class _Reader:
    """Turns ruamel's node graph into a tree, counting what it unfolds."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def read(self, node: YamlNode, path: str, depth: int) -> Node:
        self._count += 1
        position = self._position(node)
        if depth > MAX_DEPTH:
            raise InvalidConfigurationError(
                [Finding(position, f"nested deeper than {MAX_DEPTH} levels", path=path)]
            )
        if self._count > MAX_NODES:
            message = f"unfolds to more than {MAX_NODES} values"
            raise InvalidConfigurationError([Finding(position, message, "write fewer aliases", path)])
        if isinstance(node, MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, SequenceNode):
            items = tuple(self.read(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value))
            return Node(position, path, sequence=items)
        return Node(position, path, scalar=self._scalar(node, path), written=str(node.value))

    def _mapping(self, node: MappingNode, path: str, depth: int) -> Node:
        mapping: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        positions: dict[str, Position] = {}
        duplicates: list[tuple[str, Position]] = []
        for key_node, value_node in node.value:
            position = self._position(key_node)
            if not isinstance(key_node, ScalarNode):
                raise InvalidConfigurationError([Finding(position, "a key must be text", path=path)])
            key = self._text(key_node, path)
            value = self.read(value_node, f"{path}.{key}" if path else key, depth + 1)
            if key == _MERGE and value.kind in {"mapping", "list"}:
                for source in value.sequence or (value,):
                    merged = {**(source.mapping or {}), **merged}
            elif key in mapping:
                duplicates.append((key, position))
            else:
                mapping[key] = value
                positions[key] = position
        return Node(
            self._position(node),
            path,
            mapping={**merged, **mapping},
            key_positions={**{key: value.position for key, value in merged.items()}, **positions},
            duplicates=tuple(duplicates),
        )

    def _text(self, node: YamlNode, path: str) -> str:
        text = str(node.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "this holds half a character (a lone surrogate), which is no text"
            raise InvalidConfigurationError([Finding(self._position(node), message, path=path)]) from None
        return text

    def _scalar(self, node: YamlNode, path: str) -> Scalar:
        text = self._text(node, path)
        construct = _CONSTRUCT.get(str(node.tag).removeprefix(_TAG))
        if construct is None:
            return text
        try:
            return construct(text)
        except ValueError:
            message = f"{text[:40]!r} is not a number that can be read"
            raise InvalidConfigurationError([Finding(self._position(node), message, path=path)]) from None

    def _position(self, node: YamlNode) -> Position:
        return Position(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
