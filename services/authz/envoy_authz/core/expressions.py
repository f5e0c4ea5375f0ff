"""Conditions in CEL (https://cel.dev): compiled and type-checked when policies are, with a bounded cost.

The engine gives up after 10,000 iterations and 32 levels, its regular expressions take linear time (RE2), and what
it compares is bounded by the request. So an expression costs microseconds, or ends as an error, which never allows.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from envoy_authz.core.authentication import VerifiedToken
from envoy_authz.core.bodies import Unreadable
from envoy_authz.core.facts import Facts

MAX_CHARACTERS = 2000
_MAX_LOOPS = 2
_LOOP = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter|existsOne|transform\w+)\s*\(")
_TEXT_LITERAL = re.compile(r"\"\"\".*?\"\"\"|'''.*?'''|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'", re.DOTALL)

Check = Callable[[Facts], bool]


class _UnknownError(Exception):
    """An attribute that can't be known."""


def _claims(facts: Facts) -> Mapping[str, object]:
    if len(facts.tokens) > 1:
        merged: dict[str, object] = {}
        for token in reversed(facts.tokens):
            merged.update(token.claims)
        return merged
    return facts.tokens[0].claims if facts.tokens else {}


def _told(token: VerifiedToken) -> Mapping[str, object]:
    # Whose it is says who verified it, not what the token has in that place.
    return {**token.claims, "iss": token.issuer, "sub": token.subject}


def _json(facts: Facts) -> object:
    if isinstance(facts.json, Unreadable):
        raise _UnknownError
    return facts.json


def _form(facts: Facts) -> object:
    if isinstance(facts.form, Unreadable):
        raise _UnknownError
    return facts.form


def _client(facts: Facts) -> object:
    if facts.remote_ip is None:
        raise _UnknownError
    return str(facts.remote_ip)


_VARIABLES: Mapping[str, tuple[str, Callable[[Facts], object]]] = {
    "request.method": ("string", lambda facts: facts.method),
    "request.path": ("string", lambda facts: facts.path),
    "request.host": ("string", lambda facts: facts.host),
    "request.scheme": ("string", lambda facts: facts.request.scheme),
    "request.query": ("string", lambda facts: facts.request.path.partition("#")[0].partition("?")[2]),
    "request.headers": ("headers", lambda facts: facts.request.headers()),
    "request.json": ("any", _json),
    "request.form": ("form", _form),
    "request.time": ("time", lambda _facts: datetime.now(UTC)),
    "request.auth.principal": ("string", lambda facts: next(iter(facts.request_principals), "")),
    "request.auth.claims": ("claims", _claims),
    "request.auth.tokens": ("tokens", lambda facts: [_told(token) for token in facts.all_tokens]),
    "source.principal": ("string", lambda facts: facts.caller),
    "source.namespace": ("string", lambda facts: facts.source.namespace),
    "source.trust_domain": ("string", lambda facts: facts.source.trust_domain),
    "source.ip": ("string", lambda facts: str(facts.source_ip or "")),
    "remote.ip": ("string", _client),
    "destination.ip": ("string", lambda facts: str(facts.destination_ip or "")),
    "destination.port": ("int", lambda facts: facts.request.destination_port),
    "connection.sni": ("string", lambda facts: facts.request.sni),
    "context": ("context", lambda facts: dict(facts.request.context)),
}
VARIABLES = tuple(_VARIABLES)
_BODY = frozenset({"request.json", "request.form"})
_VARYING = frozenset({"request.path", "request.host", "request.auth.principal", "request.auth.claims"})
"""What differs where a request is looked at once more: by another reading, or by one of its tokens alone."""


@lru_cache(maxsize=1)
def _environment() -> Any:
    from cel_expr_python import cel  # noqa: PLC0415 - who writes no CEL needs no engine

    kind = cel.Type
    types = {
        "string": kind.STRING,
        "int": kind.INT,
        "any": kind.DYN,
        "time": kind.TIMESTAMP,
        "headers": kind.Map(kind.STRING, kind.STRING),
        "context": kind.Map(kind.STRING, kind.STRING),
        "claims": kind.Map(kind.STRING, kind.DYN),
        "tokens": kind.List(kind.Map(kind.STRING, kind.DYN)),
        "form": kind.Map(kind.STRING, kind.List(kind.STRING)),
    }
    return cel.NewEnv(
        variables={name: types[written] for name, (written, _get) in _VARIABLES.items()}
    ), kind.BOOL


def compile_expression(text: str, *, careful: bool) -> Check:
    """Return the test of a CEL expression, which must give a boolean; raises ValueError, with the place, if it can't.

    What ends as an error (no such member, a body that is cut, an unknown client, too many steps) does not match when
    *careful*, as in an ALLOW policy, and matches otherwise.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"the expression is longer than {MAX_CHARACTERS} characters")
    bare = _TEXT_LITERAL.sub("''", text)
    if len(_LOOP.findall(bare)) > _MAX_LOOPS:
        raise ValueError(f"the expression has more than {_MAX_LOOPS} loops (all, exists, map, filter)")
    environment, boolean = _environment()
    try:
        program = environment.compile(text)
    except (RuntimeError, UnicodeError) as error:
        raise ValueError(_reason(str(error))) from None
    if program.return_type() != boolean:
        raise ValueError(f"the expression gives {program.return_type().name().lower()}, not a boolean")
    used = [(name, _VARIABLES[name][1]) for name in used_variables(text)]
    evaluate = program.eval
    names = {name for name, _get in used}

    def check(facts: Facts) -> bool:
        try:
            value = evaluate(data={name: get(facts) for name, get in used}).value()
        except (_UnknownError, RuntimeError, ValueError, TypeError, OverflowError):
            return not careful
        return value if isinstance(value, bool) else not careful

    if names.isdisjoint(_BODY) or not names.isdisjoint(_VARYING):
        return check

    # The engine copies a body of 1 MiB before it looks at it, and an odd path is read in many ways.
    def checked_once(facts: Facts) -> bool:
        found = facts.kept.get(check)
        if found is None:
            found = facts.kept[check] = check(facts)
        return found

    return checked_once


def used_variables(text: str) -> tuple[str, ...]:
    """Return the names of the variables that an expression mentions."""
    return tuple(name for name in _VARIABLES if _mentions(text, name))


def _mentions(text: str, name: str) -> bool:
    return re.search(r"\s*\.\s*".join(map(re.escape, name.split("."))), text) is not None


def _reason(message: str) -> str:
    """Return what the engine says, in one line: `1:8: undeclared reference to 'request.nosuch'`."""
    first = message.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").partition("\n")[0]
    return (
        first.removeprefix("<input>:").replace(" (in container '')", "").removesuffix(" [INVALID_ARGUMENT]")
    )
