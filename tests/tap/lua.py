"""The proxy's Lua (LuaJIT 2.1) in this process, without a proxy."""

from typing import Any

from lupa.luajit21 import LuaRuntime

from envoy_tap.core.exchange import Exchange
from envoy_tap.core.predicate.evaluator import joined
from envoy_tap.slot.script import library


class Lua:
    """Runs pieces of the script; texts are bytes."""

    def __init__(self) -> None:
        self.runtime = LuaRuntime(encoding=None, register_eval=False)

    def library(self, name: str) -> Any:
        """Return the table that `slot/<name>.lua` makes."""
        table = {"predicate": b"P", "redaction": b"R"}[name]
        return self.runtime.execute(library(name).encode() + b"\nreturn " + table)

    def predicate(self) -> Any:
        """Return a function that evaluates compiled code on a request."""
        made = self.runtime.execute(
            b"local P = ...\n"
            b"return function(code, get, id, address, principal)\n"
            b"  local r = P.request(get, function() return id end, function() return address end, function() return principal end)\n"
            b"  return assert(loadstring('local P, r = ...; return ' .. code))(P, r)\n"
            b"end",
            self.library("predicate"),
        )

        def run(code: str, seen: Exchange) -> Any:
            request = seen.request
            assert request is not None
            return made(
                code.encode(),
                lambda name: joined(request.headers, name.decode()),
                float(seen.trace_id),
                seen.source_address.encode() or None,
                seen.source_principal.encode() or None,
            )

        return run
