"""What was taken out of a stored exchange: where, and by which rule. For people; read out of what is left."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from envoy_tap.core.exchange import Exchange, Message, Pairs
from envoy_tap.core.predicate.jsonpath import MISSING, Step, parsed, steps
from envoy_tap.core.redaction.names import known_as
from envoy_tap.core.redaction.rules import DEFAULT_HEADERS, DEFAULT_NAMES, DEFAULT_QUERY, Redaction

MAX_FOUND = 200
_PLACEHOLDER = re.compile(rb"\[redacted(?:: [^\]\n]{1,200})?\]|\[hmac:[0-9a-f]{16}\]")
_WHOLE_BODY = b"[redacted: "
_PARAMETER = re.compile(
    rb"(?s).*(?:\A|[=&?#; \t\r\n\"]|%(?:3[BbDdFf]|2[36])|\\u00..)([^=&?#; \t\r\n\"]{1,100})(?:=|%3[Dd]|\\u003[Dd])\Z"
)
_MEMBER = re.compile(rb"\"([^\"\\]{1,100})\"\s*:\s*\"\Z")
_PART = re.compile(rb"name=\"?([^\"\r\n;]{1,100})[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n\Z")
# How far before a placeholder its name may stand.
_BEFORE_BYTES = 400


@dataclass(frozen=True, slots=True)
class Redacted:
    """One place: `where` in words (`request header authorization`), what stands there now, and why."""

    where: str
    placeholder: str
    why: str


def explained(exchange: Exchange, rules: Redaction, never_headers: frozenset[str]) -> list[Redacted]:
    """Return what was taken out of *exchange* by *rules* and the policy, MAX_FOUND places at most."""
    finder = _Finder(rules, never_headers)
    found: list[Redacted] = []
    for side, message in (("request", exchange.request), ("response", exchange.response)):
        for place in finder.message(side, message or Message()):
            if len(found) == MAX_FOUND:
                return found
            found.append(place)
    return found


class _Finder:
    def __init__(self, rules: Redaction, never_headers: frozenset[str]) -> None:
        self._rules = rules
        self._never = never_headers
        self._secret = frozenset(each.encode() for each in rules.query | rules.names)
        self._paths = tuple(steps(path) for path in sorted(rules.paths))
        self._pattern = f"it looks like one of: {', '.join(sorted(rules.patterns))}"

    def message(self, side: str, message: Message) -> Iterator[Redacted]:
        yield from self._pairs(f"{side} header", message.headers)
        yield from self._body(f"{side} body", message.body)
        yield from self._pairs(f"{side} trailer", message.trailers)

    def _pairs(self, where: str, pairs: Pairs) -> Iterator[Redacted]:
        for name, value in pairs:
            if _PLACEHOLDER.fullmatch(value) and (why := self._header(name.lower())):
                yield Redacted(f"{where} {name}", value.decode(), why)
            else:
                yield from self._text(f"{where} {name}", value)

    def _header(self, name: str) -> str:
        if name in self._never:
            return "the policy never lets this header through"
        return _by_name(name, self._rules.headers, DEFAULT_HEADERS, "header")

    def _body(self, where: str, body: bytes) -> Iterator[Redacted]:
        if body.startswith(_WHOLE_BODY):
            yield Redacted(where, body.decode(errors="replace"), "it could not be looked into")
            return
        if not _PLACEHOLDER.search(body):
            return
        data = parsed(body) if body.lstrip()[:1] in (b"{", b"[") else MISSING
        if isinstance(data, dict | list):
            yield from self._json(where, data)
        else:
            yield from self._text(where, body)

    def _json(self, where: str, data: object) -> Iterator[Redacted]:
        # A stack, as a body may be nested deeply; in order of appearance.
        rest: list[tuple[tuple[Step, ...], object]] = [((), data)]
        while rest:
            path, value = rest.pop()
            if isinstance(value, dict):
                rest += [((*path, str(key)), inner) for key, inner in reversed(value.items())]
            elif isinstance(value, list):
                rest += [((*path, index), inner) for index, inner in reversed([*enumerate(value)])]
            elif isinstance(value, str) and _PLACEHOLDER.search(text := value.encode(errors="replace")):
                place = f"{where} {_written(path)}"
                why = self._member(path) if _PLACEHOLDER.fullmatch(text) else ""
                if why:
                    yield Redacted(place, value, why)
                else:
                    yield from self._text(place, text)

    def _member(self, path: tuple[Step, ...]) -> str:
        name = next((step for step in reversed(path) if isinstance(step, str)), "")
        by_name = _by_name(name.lower(), self._rules.names, DEFAULT_NAMES, "value named")
        if by_name:
            return by_name
        return "the session asks for this path" if any(_fits(path, wanted) for wanted in self._paths) else ""

    def _text(self, where: str, text: bytes) -> Iterator[Redacted]:
        for found in _PLACEHOLDER.finditer(text):
            before = text[max(0, found.start() - _BEFORE_BYTES) : found.start()]
            named = _PARAMETER.match(before) or _MEMBER.search(before) or _PART.search(before)
            name = named[1].decode(errors="replace") if named else ""
            known = known_as(named[1], self._secret).decode() if named else ""
            why = _by_name(known, self._rules.query | self._rules.names, DEFAULT_QUERY, "value named")
            yield Redacted(f"{where}, {name}" if name else where, found[0].decode(), why or self._pattern)


def _by_name(name: str, wanted: frozenset[str], default: frozenset[str], kind: str) -> str:
    if name not in wanted:
        return ""
    by = "this service by default" if name in default else "the session"
    return f"{by} takes out every {kind} {name}"


def _fits(path: tuple[Step, ...], wanted: tuple[Step, ...]) -> bool:
    return len(path) == len(wanted) and all(
        step in ("*", found) for found, step in zip(path, wanted, strict=True)
    )


def _written(path: tuple[Step, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
