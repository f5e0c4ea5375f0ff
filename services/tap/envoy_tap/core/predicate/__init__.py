"""The predicate language: which exchanges a session wants.

`parse` reads it, `printed` writes it canonically, `matches` decides over a whole exchange, `early` over a request's
headers alone as they were sent (None: it takes more), and `lua.compiled` gives the same early decision as Lua. The grammar is in
docs/tap.md.
"""

from envoy_tap.core.predicate.evaluator import Hiding, early, matches
from envoy_tap.core.predicate.model import And, Condition, Expr, Field, Not, Op, Or, all_of, any_of, none_of
from envoy_tap.core.predicate.parser import MAX_CHARS, parse
from envoy_tap.core.predicate.parts import collector_part, proxy_part
from envoy_tap.core.predicate.printer import printed
from envoy_tap.core.predicate.scanner import PredicateError
from envoy_tap.core.predicate.size import is_too_large, looked_into_bytes

__all__ = [
    "MAX_CHARS",
    "And",
    "Condition",
    "Expr",
    "Field",
    "Hiding",
    "Not",
    "Op",
    "Or",
    "PredicateError",
    "all_of",
    "any_of",
    "collector_part",
    "early",
    "is_too_large",
    "looked_into_bytes",
    "matches",
    "none_of",
    "parse",
    "printed",
    "proxy_part",
]
