"""What aborts Envoy in a body of `POST /tap` only: there it is read outside of what catches Envoy's exceptions."""

from collections.abc import Iterator

from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_tap.lint.fields import field, finding, mappings

_REGEX = "Envoy aborts if RE2 can't read this regex, or if its program is over 100: it can't be known before"
_CUSTOM = "Envoy aborts if it does not know this matcher, or the matcher does not like its configuration"
_HINT = "use exact, prefix, suffix or contains, and sort out what comes"


def matchers(body: Node) -> Iterator[Finding]:
    """Yield what may abort in the matchers anywhere in *body*."""
    for node in mappings(body):
        for name in ("safe_regex", "safe_regex_match"):
            if field(node, name) is not None:
                yield finding(node, name, _REGEX, _HINT)
        string = field(node, "string_match")
        if field(string, "custom") is not None:
            yield finding(string or node, "custom", _CUSTOM, _HINT)
