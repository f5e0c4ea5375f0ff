"""Istio's string patterns: `exact`, `prefix*`, `*suffix`, `*` for anything but nothing, and templates of paths."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

SPIFFE_SCHEME = "spiffe://"

Test = Callable[[str], bool]


class Kind(Enum):
    """How a pattern compares."""

    EXACT = "exact"
    PREFIX = "prefix"
    SUFFIX = "suffix"
    PRESENT = "present"
    TEMPLATE = "template"


_SEGMENT = "{*}"
_REST = "{**}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One pattern; `text` is without its `*`, and empty for PRESENT."""

    kind: Kind
    text: str = ""


def parse_pattern(text: str) -> Pattern:
    """Read a pattern as Istio writes it; raises ValueError when it is empty or its `*` isn't at exactly one end."""
    if not text:
        raise ValueError("an empty string matches nothing")
    if text == "*":
        return Pattern(Kind.PRESENT)
    body = text.removesuffix("*") if text.endswith("*") else text.removeprefix("*")
    if "*" in body:
        raise ValueError(f"{text!r} has a `*` that is not at its one end")
    if body == text:
        return Pattern(Kind.EXACT, text)
    return Pattern(Kind.PREFIX if text.endswith("*") else Kind.SUFFIX, body)


def parse_principal(text: str) -> Pattern:
    """Read a pattern of `source.principals`; `text` of the result is without `spiffe://`. Raises ValueError as above.

    Istio writes `cluster.local/ns/x/sa/y` for the identity `spiffe://cluster.local/ns/x/sa/y`; the full form is
    accepted as well. `spiffe://*` is any SPIFFE identity, `*` any identity at all.
    """
    if text == f"{SPIFFE_SCHEME}*":
        return Pattern(Kind.PREFIX)
    return parse_pattern(text.removeprefix(SPIFFE_SCHEME))


def parse_path(text: str) -> Pattern:
    """Read a pattern of `paths`: as above, or a template, whose segments are literal, `{*}` or (the last) `{**}`.

    Raises ValueError as above, and when an operator is not a whole segment or follows `{**}`.
    """
    if _SEGMENT not in text and _REST not in text:
        return parse_pattern(text)
    segments = text.split("/")
    if segments[0]:
        raise ValueError(f"{text!r} is a template that does not begin with `/`")
    for number, segment in enumerate(segments):
        if segment in {_SEGMENT, _REST}:
            if _REST in segments[:number]:
                raise ValueError(f"{text!r} has an operator after `{_REST}`, which must be the last")
        elif any(character in segment for character in "*{}"):
            raise ValueError(f"{text!r} is a template whose {segment!r} is neither literal nor an operator")
    return Pattern(Kind.TEMPLATE, text)


def template_test(text: str) -> Test:
    """Return a test whether a path matches the template *text*: `{*}` is one segment, `{**}` any number, even none."""
    parts = {_SEGMENT: "[^/]+", _REST: ".*"}
    expression = re.compile("/".join(parts.get(part, re.escape(part)) for part in text.split("/")), re.DOTALL)
    return lambda path: expression.fullmatch(path) is not None


def template_prefix(text: str) -> str:
    """Return what every path begins with that matches the template *text*."""
    return text.partition("{")[0]


def any_of(patterns: Iterable[Pattern], scheme: str = "") -> Test:
    """Return a test whether a value matches at least one of *patterns*, each meant after *scheme*.

    An empty value, which is an absent attribute, matches none of them. With a scheme, a value without it matches
    PRESENT only: Envoy falls back to the certificate's DNS name or subject, which the holder may have chosen to end
    like somebody's SPIFFE path.
    """
    by_kind: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for pattern in patterns:
        by_kind[pattern.kind].append(pattern.text)
    if by_kind[Kind.PRESENT]:
        return bool
    tests: list[Test] = []
    if len(by_kind[Kind.EXACT]) == 1:
        tests.append((scheme + by_kind[Kind.EXACT][0]).__eq__)
    elif by_kind[Kind.EXACT]:
        tests.append(frozenset(scheme + text for text in by_kind[Kind.EXACT]).__contains__)
    if by_kind[Kind.PREFIX]:
        tests.append(_starts_with(tuple(scheme + text for text in by_kind[Kind.PREFIX])))
    if by_kind[Kind.SUFFIX]:
        tests.append(_ends_with(tuple(by_kind[Kind.SUFFIX]), scheme))
    tests.extend(map(template_test, by_kind[Kind.TEMPLATE]))
    if len(tests) == 1:
        return tests[0]
    return lambda value: any(test(value) for test in tests)


def _starts_with(prefixes: tuple[str, ...]) -> Test:
    return lambda value: value.startswith(prefixes)


def _ends_with(suffixes: tuple[str, ...], scheme: str) -> Test:
    after = len(scheme)
    return lambda value: value.startswith(scheme) and value.endswith(suffixes, after)
