"""What CEL expressions compare with which attribute: a guess by their text, good enough to find values to try."""

import json
import re
from collections.abc import Iterator

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.around import around_number
from envoy_authz.commands.dimensions import Value

_NAME = r"""[a-zA-Z_][\w.]*(?:\[(?:"[^"\\]*"|'[^'\\]*')\][\w.]*)*"""
_LITERAL = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|-?\d+(?:\.\d+)?|true\b|false\b)"""
_COMPARED = re.compile(rf"(?P<name>{_NAME})\s*(?:==|!=|<=?|>=?)\s*(?P<literal>{_LITERAL})")
_REVERSED = re.compile(rf"(?P<literal>{_LITERAL})\s*(?:==|!=|<=?|>=?)\s*(?P<name>{_NAME})")
_MEMBER = re.compile(rf"(?P<literal>{_LITERAL})\s+in\s+(?P<name>{_NAME})")
_ONE_OF = re.compile(rf"(?P<name>{_NAME})\s+in\s+\[(?P<literals>[^\]]*)\]")
_METHOD = re.compile(rf"(?P<name>{_NAME})\.(?:startsWith|endsWith|contains)\(\s*(?P<literal>{_LITERAL})\s*\)")
_PARTS = re.compile(r"""([A-Za-z_]\w*)|\[(?:"([^"\\]*)"|'([^'\\]*)')\]""")
_PLAIN = {
    "request.method": dim.METHOD,
    "request.path": dim.PATH,
    "request.host": dim.HOST,
    "request.scheme": dim.SCHEME,
    "request.auth.principal": dim.TOKEN,
    "source.principal": dim.PRINCIPAL,
    "source.ip": dim.ADDRESS,
    "remote.ip": dim.ADDRESS,
    "destination.ip": dim.DESTINATION,
    "destination.port": dim.PORT,
    "connection.sni": dim.SNI,
}
_INSIDE = (
    (("request", "auth", "claims"), dim.CLAIM),
    (("request", "headers"), dim.HEADER),
    (("request", "json"), dim.JSON),
    (("request", "form"), dim.FORM),
    (("context",), dim.CONTEXT),
)

_MAPS = frozenset({"request.headers", "request.auth.claims", "request.json", "context"})


def compared(expression: str) -> Iterator[tuple[str, Value]]:
    """Yield dimensions with values to try, as far as the text of *expression* tells."""
    for pattern in (_COMPARED, _REVERSED):
        for match in pattern.finditer(expression):
            yield from _around(match["name"], match["literal"])
    for match in _ONE_OF.finditer(expression):
        for literal in re.findall(_LITERAL, match["literals"]):
            yield from _around(match["name"], literal)
    for match in _METHOD.finditer(expression):
        yield from _parts_of(match["name"], _value(match["literal"]))
    for match in _MEMBER.finditer(expression):
        yield from _members(match["name"], _value(match["literal"]))


def _parts_of(attribute: str, text: Value) -> Iterator[tuple[str, Value]]:
    name = dimension(attribute)
    if name is not None:
        yield from ((name, value) for value in (text, f"{text}x", f"x{text}"))


def _members(attribute: str, member: Value) -> Iterator[tuple[str, Value]]:
    """Yield lists that have *member*, or, of a whole map, the attribute that is its member."""
    name = dimension(attribute)
    if name is not None:
        yield from ((name, value) for value in ((str(member),), (f"{member}x",)))
        return
    inside = dimension(f"{attribute}.{member}") if attribute in _MAPS else None
    if inside is not None:
        yield inside, "x"


def dimension(name: str) -> str | None:
    """Return the dimension of an attribute as CEL writes it; None if it has none."""
    parts = tuple("".join(found) for found in _PARTS.findall(name))
    if ".".join(parts) in _PLAIN:
        return _PLAIN[".".join(parts)]
    for start, kind in _INSIDE:
        rest = parts[len(start) :]
        if parts[: len(start)] == start and rest:
            return dim.below(kind, rest) if kind in {dim.CLAIM, dim.JSON} else kind + rest[0].lower()
    return None


def _around(name: str, literal: str) -> Iterator[tuple[str, Value]]:
    found, value = dimension(name), _value(literal)
    if found is None:
        return
    if isinstance(value, bool):
        yield from ((found, value), (found, not value))
    elif isinstance(value, int | float):
        for number in around_number(value):
            if found != dim.PORT or (isinstance(number, int) and number > 0):
                yield found, number
    else:
        yield from ((found, value), (found, f"{value}x"))


def _value(literal: str) -> str | int | float | bool:
    if literal[0] in "\"'":
        return literal[1:-1].replace("\\" + literal[0], literal[0])
    value: str | int | float | bool = json.loads(literal)
    return value
