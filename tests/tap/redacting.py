"""The rules of redaction that tests use, in Python and as the proxy's Lua has them."""

from typing import Any

from envoy_tap.core.redaction.json_text import json_paths
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import DEFAULT_NAMES, Pattern, Redaction, spellings
from tests.tap.lua import Lua

RULES = Redaction(
    names=DEFAULT_NAMES | {"größe"}, paths=frozenset({"order.items[*].pin", "[0].x", "kunde.straße"})
)
MASKED = Redactor(RULES, frozenset({"x-never"}), b"key")
LUA = Lua()
R = LUA.library("redaction")
CARD = "4111111111111111"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"


def lua_rule() -> Any:
    def names(found: frozenset[str]) -> Any:
        return LUA.runtime.table_from({name.encode(): True for name in spellings(found)})

    paths = [LUA.runtime.table_from(list(path)) for path in json_paths(sorted(RULES.paths))]
    return LUA.runtime.table_from(
        {
            b"headers": names(RULES.headers | {"x-never"}),
            b"query": names(RULES.query),
            b"names": names(RULES.names),
            b"paths": LUA.runtime.table_from(paths),
            **{pattern.encode(): True for pattern in Pattern},
        }
    )


RULE = lua_rule()


def lua_body(body: bytes, content_type: bytes, *, cut: bool) -> bytes:
    found: bytes = R.body(body, content_type, b"", RULE, cut)
    return found


def json_body(text: str, *, cut: bool = False) -> str:
    body = MASKED.body(text.encode(), b"application/json", cut=cut)
    assert body == lua_body(text.encode(), b"application/json", cut=cut)
    return body.decode()


def plain_body(text: str, *, cut: bool = False) -> str:
    body = MASKED.body(text.encode(), b"text/plain", cut=cut)
    assert body == lua_body(text.encode(), b"text/plain", cut=cut)
    return body.decode()
