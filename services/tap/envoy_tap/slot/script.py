"""The script of a proxy: a head of literals, made from its sessions, before the Lua that never changes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.resources import files

from envoy_tap.core.exchange import Node
from envoy_tap.core.policy import Policy, forbidding_parts
from envoy_tap.core.predicate.jsonpath import steps
from envoy_tap.core.predicate.lua import compiled, decisions, escaped, quoted
from envoy_tap.core.redaction.rules import NOTHING, Style, spellings
from envoy_tap.core.session import Session

DEFAULT_CLUSTER = "envoy_tap"
DEFAULT_TTL_S = 30
# What a part needs before it.
_BEFORE = {"redaction": ("editor", "patterns", "json_text", "framed")}


@dataclass(frozen=True, slots=True)
class Setup:
    """What all scripts share: the Envoy cluster of the tap service, and what can never be captured."""

    cluster_name: str = DEFAULT_CLUSTER
    policy: Policy = field(default_factory=Policy)


def render(sessions: Sequence[Session], node: Node, setup: Setup) -> str:
    """Return the script for *sessions* on *node*; the node is written in, since Envoy's Lua does not tell it.

    Whatever comes from outside is in it as a number or as a literal that `quoted` escaped.
    """
    # Sorted, since the text is the version: equal sessions must render equal scripts.
    tables = [_session(session, setup.policy) for session in sorted(sessions, key=lambda each: each.id)]
    head = [
        f"local CLUSTER, NODE_ID, NODE_CLUSTER = {quoted(setup.cluster_name)}, {quoted(node.id)}, {quoted(node.cluster)}",
        f"local NEVER_PATHS = {_list(quoted(each) for path in setup.policy.never_paths for each in forbidden_patterns(path))}",
        f"local SESSIONS = {{\n{''.join(f'{table},{chr(10)}' for table in tables)}}}",
    ]
    return "\n".join([library("predicate"), library("redaction"), library("facts"), *head, library("tap")])


@cache
def library(name: str) -> str:
    """Return the Lua text of the part *name* of the script."""
    found = [files(__package__).joinpath(f"{each}.lua") for each in (*_BEFORE.get(name, ()), name)]
    return "\n".join(each.read_text("utf-8") for each in found)


@lru_cache(maxsize=256)
def _session(session: Session, policy: Policy) -> str:
    limits = session.limits
    # With placeholders, redaction is the collector's; what is never to be captured does not leave the proxy even so.
    rules = session.redaction if session.redaction.style is Style.MASK else NOTHING
    values = {
        "tap_id": quoted(session.id),
        "expires_at": str(int(session.expires_at_s)),
        "body_cap": str(int(limits.body_bytes)),
        "rate": str(int(limits.rate_per_s)),
        "headers": _set(rules.headers | policy.never_headers),
        "query": _set(spellings(rules.query)),
        "names": _set(spellings(rules.names)),
        "paths": _list(_path(path) for path in sorted(rules.paths)),
        **{pattern.value: "true" for pattern in sorted(rules.patterns)},
        "may": f"function(r) return {compiled(session.predicate)} end",
        "decided": f"function(r) return {decisions(session.predicate)} end",
    }
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"


def _path(path: str) -> str:
    return _list(quoted(step) if isinstance(step, str) else str(step) for step in steps(path))


def forbidden_patterns(path: str) -> list[str]:
    """Return the Lua patterns that match the normal paths of a template."""
    parts, goes_on = forbidding_parts(path)
    written = "^" + "".join("/[^/]+" if each == "*" else "/" + escaped(each) for each in parts)
    return [f"{written}$", f"{written}/"] if goes_on else [f"{written}$" if parts else "^/$"]


def _list(items: Iterable[str]) -> str:
    return "{" + ", ".join(items) + "}"


def _set(names: Iterable[str]) -> str:
    return _list(f"[{quoted(name)}] = true" for name in sorted(names))
