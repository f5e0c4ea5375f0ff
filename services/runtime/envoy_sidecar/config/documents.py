"""YAML documents as plain nodes that know their position, so that every finding can say `file:line:col`.

Bounded on purpose: aliases may not blow a small file up to a large tree, nor may nesting exhaust the stack.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.parser import ParserError, RoundTripParser

from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position

MAX_NODES = 2_000_000
MAX_REPEATED_NODES = 200_000
"""How many of them may be repetitions by aliases."""

MAX_DEPTH = 64

Scalar = str | int | float | bool | None
_TAG = "tag:yaml.org,2002:"
_MERGE = "<<"
_MAX_KEY = 100
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_YAML_1_2 = (1, 2)
_CONSTRUCT: dict[str, Callable[[str], Scalar]] = {
    "int": lambda text: _integer(text.replace("_", "")),
    "float": lambda text: float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan")),
    "bool": lambda text: _BOOLEANS[text],
    "null": lambda _text: None,
}


def _integer(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        return int(text)  # 010: a zero in front means nothing in YAML 1.2


class Place(NamedTuple):
    """A place inside a document, as a link to the one above it: the paths of all values together may be huge."""

    above: "Place | None"
    key: str | int

    def __str__(self) -> str:
        keys: list[str | int] = []
        place: Place | None = self
        while place is not None:
            keys.append(place.key)
            place = place.above
        text = "".join(f"[{key}]" if isinstance(key, int) else f".{key[:_MAX_KEY]}" for key in reversed(keys))
        return text.removeprefix(".")


_NO_KEYS: Mapping[str, Position] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a document.

    Exactly one of three kinds: a mapping (`mapping` is a dict of nodes), a sequence (`sequence` is a tuple of nodes),
    or else a scalar (`scalar`, and `written` as it is spelled, without quotes). `place` is the place inside the document,
    which `path` spells. `key_positions` holds where each key of a mapping stands; `duplicates` lists keys that came
    again, with the position of the repetition.
    """

    position: Position
    place: Place | str | None
    scalar: Scalar = None
    written: str = ""
    mapping: dict[str, "Node"] | None = None
    sequence: tuple["Node", ...] | None = None
    key_positions: Mapping[str, Position] = field(default_factory=lambda: _NO_KEYS)
    duplicates: tuple[tuple[str, Position], ...] = ()

    @property
    def path(self) -> str:
        """The place inside the document (`descriptors[0].key`); empty for the whole."""
        return "" if self.place is None else str(self.place)

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
        hint = "check the indentation and the quotes up to here"
        raise InvalidConfigurationError([Finding(position, message, hint)]) from None
    except (YAMLError, OverflowError) as error:  # OverflowError: an escape beyond Unicode, "\\U99999999"
        raise InvalidConfigurationError([Finding(Position(file), f"this is not YAML: {error}")]) from None
    except RecursionError:
        message = f"nested deeper than {MAX_DEPTH} levels"
        raise InvalidConfigurationError([Finding(Position(file), message)]) from None


def _documents(text: str, file: str) -> Iterator[Node]:
    reader = _Reader(file)
    yaml = YAML(typ="rt", pure=True)
    yaml.Parser = _Parser
    try:
        with closing(yaml.compose_all(text)) as roots:
            for root in roots:
                yield reader.document(root)
    finally:
        # Its parts know it, and the parser knows itself: what reloads leave would have to wait for the cycle collector.
        vars(yaml.parser).clear()
        vars(yaml).clear()


class _Parser(RoundTripParser):
    """Knows YAML 1.2 alone: in 1.1 `yes` is a boolean and `010` is eight, and other parsers go by their own choice."""

    def process_directives(self) -> Any:
        """Return the directives before a document."""
        start = self.scanner.peek_token().start_mark
        try:
            directives = super().process_directives()
        except AssertionError:  # the library knows 1.1 and 1.2, and asserts it
            version = "of another version"
        else:
            version = ".".join(map(str, directives[0] or _YAML_1_2))
            if directives[0] in {None, _YAML_1_2}:
                return directives
        message = f"%YAML {version} is not supported: write %YAML 1.2, or no directive"
        raise ParserError(None, None, message, start)


class _Reader:
    """Turns ruamel's node graph into a tree, counting what it unfolds."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0
        self._repeated = 0
        self._positions: dict[int, Position] = {}

    def document(self, root: YamlNode) -> Node:
        self._positions.clear()  # by the identity of nodes, which last as long as their document
        return self.read(root, None, 0)

    def read(self, node: YamlNode, place: Place | None, depth: int) -> Node:
        self._count += 1
        self._repeated += id(node) in self._positions
        if depth > MAX_DEPTH:
            raise self._refusal(node, place, f"nested deeper than {MAX_DEPTH} levels")
        if self._count > MAX_NODES:
            raise self._refusal(
                node, place, f"unfolds to more than {MAX_NODES} values", "write fewer aliases"
            )
        if self._repeated > MAX_REPEATED_NODES:
            message = f"aliases repeat more than {MAX_REPEATED_NODES} values"
            raise self._refusal(node, place, message, "write fewer aliases")
        if isinstance(node, MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, SequenceNode):
            items = tuple(self.read(item, Place(place, i), depth + 1) for i, item in enumerate(node.value))
            return Node(self._position(node), place, sequence=items)
        return Node(self._position(node), place, scalar=self._scalar(node, place), written=str(node.value))

    def _mapping(self, node: MappingNode, place: Place | None, depth: int) -> Node:
        mapping: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        positions: dict[str, Position] = {}
        duplicates: list[tuple[str, Position]] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise self._refusal(key_node, place, "a key must be text")
            key = self._text(key_node, place)
            value = self.read(value_node, Place(place, key), depth + 1)
            if key == _MERGE and value.kind in {"mapping", "list"}:
                for source in value.sequence or (value,):
                    for name, inherited in (source.mapping or {}).items():
                        merged.setdefault(name, inherited)
            elif key in mapping:
                duplicates.append((key, self._position(key_node)))
            else:
                mapping[key] = value
                positions[key] = self._position(key_node)
        return Node(
            self._position(node),
            place,
            mapping={**merged, **mapping},
            key_positions={**{key: value.position for key, value in merged.items()}, **positions},
            duplicates=tuple(duplicates),
        )

    def _text(self, node: YamlNode, place: Place | None) -> str:
        text = str(node.value)
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "this holds half a character (a lone surrogate), which is no text"
            raise self._refusal(node, place, message) from None
        return text

    def _scalar(self, node: YamlNode, place: Place | None) -> Scalar:
        text = self._text(node, place)
        construct = _CONSTRUCT.get(str(node.tag).removeprefix(_TAG))
        if construct is None:
            return text
        try:
            return construct(text)
        except KeyError:
            message = f"{text[:40]!r} is not a boolean of YAML 1.2"
            raise self._refusal(node, place, message, "write true or false") from None
        except ValueError:
            raise self._refusal(node, place, f"{text[:40]!r} is not a number that can be read") from None

    def _refusal(
        self, node: YamlNode, place: Place | None, message: str, hint: str = ""
    ) -> InvalidConfigurationError:
        path = "" if place is None else str(place)
        return InvalidConfigurationError([Finding(self._position(node), message, hint, path)])

    def _position(self, node: YamlNode) -> Position:
        # A value that is reached by many aliases stands in one place.
        position = self._positions.get(id(node))
        if position is None:
            position = Position(self._file, node.start_mark.line + 1, node.start_mark.column + 1)
            self._positions[id(node)] = position
        return position
