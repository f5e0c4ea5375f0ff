"""Where tokens are in a request: headers, query parameters and cookies, taken apart by hand.

Whatever an upstream could read as a token must be one that was verified. So a scheme counts in any case of letters
(RFC 9110 section 11.1), and a place that holds two, or a parameter whose name is percent-encoded, is refused.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote_plus

from envoy_authz.authenticators.model import HeaderPlace, JwtRule
from envoy_authz.tokens.flaws import Flaw, TokenError

DEFAULT_HEADER = HeaderPlace("authorization", "Bearer ")
DEFAULT_PARAMETER = "access_token"
DPOP_PREFIX = "dpop "
_BEARER = "bearer "

Rule = TypeVar("Rule")


class Kind(Enum):
    """What kind of place a token was found in."""

    HEADER = "header"
    PARAMETER = "parameter"
    COOKIE = "cookie"


class Readable(Protocol):
    """The part of a request that may hold tokens; see `core.RequestView`."""

    @property
    def path(self) -> str:
        """The request target as received, with its query."""

    def header(self, name: str) -> str | None:
        """Return a header's value."""


@dataclass(slots=True, eq=False)
class Place(Generic[Rule]):
    """One place and the rules that look there, by issuer; `prefix` is in lower case and of a header only."""

    kind: Kind
    name: str
    prefix: str = ""
    rules: dict[str, list[Rule]] = field(default_factory=dict)

    @property
    def is_dpop(self) -> bool:
        """Whether a token here comes with a proof of possession (RFC 9449 section 7.1)."""
        return self.kind is Kind.HEADER and self.prefix == DPOP_PREFIX


Found = tuple[Place[Rule], str]
"""A token, and where it was."""


class Places(Generic[Rule]):
    """All places that any of several rules names."""

    __slots__ = ("_cookies", "_headers", "_parameters")

    def __init__(self, rules: Iterable[tuple[JwtRule, Rule]]) -> None:
        """Collect the places of *rules*, each with what stands for it."""
        by_header: dict[str, dict[str, Place[Rule]]] = {}
        self._parameters: dict[str, Place[Rule]] = {}
        self._cookies: dict[str, Place[Rule]] = {}
        for rule, compiled in rules:
            default = not (rule.from_headers or rule.from_params or rule.from_cookies)
            for header in (DEFAULT_HEADER,) if default else rule.from_headers:
                prefix = header.prefix.lower()
                for one in (prefix, DPOP_PREFIX) if prefix == _BEARER else (prefix,):
                    place = by_header.setdefault(header.name, {}).setdefault(
                        one, Place(Kind.HEADER, header.name, one)
                    )
                    place.rules.setdefault(rule.issuer, []).append(compiled)
            for name in (DEFAULT_PARAMETER,) if default else rule.from_params:
                place = self._parameters.setdefault(name, Place(Kind.PARAMETER, name))
                place.rules.setdefault(rule.issuer, []).append(compiled)
            for name in rule.from_cookies:
                place = self._cookies.setdefault(name, Place(Kind.COOKIE, name))
                place.rules.setdefault(rule.issuer, []).append(compiled)
        # The longest prefix that fits is the one that was meant.
        self._headers = tuple(
            (name, tuple(sorted(places.values(), key=lambda place: -len(place.prefix))))
            for name, places in by_header.items()
        )

    def find(self, request: Readable) -> list[Found[Rule]]:
        """Return all tokens in *request*, one a place; raises TokenError when a place holds more than one."""
        found: list[Found[Rule]] = []
        for name, places in self._headers:
            value = request.header(name)
            if value:
                _in_header(value, places, found)
        if self._parameters:
            path = request.path
            if "?" in path:
                self._in_query(path.partition("#")[0].partition("?")[2], found)
        if self._cookies:
            cookies = request.header("cookie")
            if cookies:
                self._in_cookies(cookies, found)
        return found

    def _in_query(self, query: str, found: list[Found[Rule]]) -> None:
        parameters = self._parameters
        seen: set[str] = set()
        for pair in query.split("&"):
            name, _, value = pair.partition("=")
            # Nobody has to encode such a name. Envoy would not find it to remove it, and the upstream would.
            if ("%" in name or "+" in name) and unquote_plus(name) in parameters:
                raise TokenError(Flaw.AMBIGUOUS)
            if name in parameters:
                if name in seen:
                    raise TokenError(Flaw.AMBIGUOUS)
                seen.add(name)
                found.append((parameters[name], unquote_plus(value) if "%" in value else value))

    def _in_cookies(self, header: str, found: list[Found[Rule]]) -> None:
        cookies = self._cookies
        seen: set[str] = set()
        for name, value in split_cookies(header):
            if name in cookies:
                if name in seen:
                    raise TokenError(Flaw.AMBIGUOUS)
                seen.add(name)
                found.append((cookies[name], value))


def split_cookies(header: str) -> list[tuple[str, str]]:
    """Return the pairs of a `cookie` header (RFC 6265 section 4.2.1).

    A comma separates as well: that is how repeated headers are joined.
    """
    pairs = (part.strip(" \t").partition("=") for part in header.replace(",", ";").split(";"))
    return [(name.rstrip(" \t"), value.lstrip(" \t")) for name, equals, value in pairs if equals]


def without_cookies(header: str, names: Iterable[str]) -> str:
    """Return a `cookie` header without the cookies *names*; empty when none is left."""
    gone = frozenset(names)
    parts = (part.strip(" \t") for part in header.split(";"))
    return "; ".join(part for part in parts if part and part.partition("=")[0].rstrip(" \t") not in gone)


def _in_header(value: str, places: tuple[Place[Rule], ...], found: list[Found[Rule]]) -> None:
    for place in places:
        token = _after(value, place.prefix)
        if token is not None:
            found.append((place, token))
            return
    # Another scheme comes first, and the line after it may bring a token that the upstream takes.
    if "," in value and any(
        _after(part.strip(" \t"), place.prefix) is not None
        for part in value.split(",")[1:]
        for place in places
    ):
        raise TokenError(Flaw.AMBIGUOUS)


def _after(value: str, prefix: str) -> str | None:
    """Return what follows *prefix* (lower case); None if *value* doesn't begin with it.

    A prefix that ends in a space is a scheme: after it comes a space, or what can't be a token and is so refused.
    """
    length = len(prefix)
    if value[:length].lower() == prefix:
        return value[length:].lstrip(" ") if prefix.endswith(" ") else value[length:]
    if prefix.endswith(" "):
        bare = prefix.rstrip(" ")
        rest = value[len(bare) :]
        if value[: len(bare)].lower() == bare and not (rest[:1].isalnum() or rest[:1] in {"-", "_"}):
            return rest or " "
    return None
