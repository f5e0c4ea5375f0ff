"""What of a decision is not to be written down."""

import re
from collections.abc import Iterable
from typing import Any

import re2

MASK = "***"
# In time that grows with the text alone: while Python's own expressions run away, nothing is decided.
_QUIET = re2.Options()
_QUIET.log_errors = False
# Where a query or a fragment begins, also one that only another reader takes for it.
_QUERY = re.compile(r"[?#]|%(?:25)*(?:3f|23)", re.IGNORECASE)
_VALUE = re.compile(r"=[^&#;?]*")
_MATRIX_VALUE = re.compile(r"(;[^/;=?#]*)=[^/;?#]*")


class Masks:
    """Masks the values of query, fragment and matrix parameters, always, and what the groups of *patterns* match in any text.

    A pattern without a group masks all that it matches. Raises ValueError for one that is no regular expression.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        try:
            self._patterns = [re2.compile(pattern, _QUIET) for pattern in patterns]
        except re2.error as error:
            why = error.args[0]
            text = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
            raise ValueError(f"no regular expression (RE2): {text}") from None

    def path(self, text: str) -> str:
        """Return a request target without the values of its query; a query without values is masked as a whole."""
        begin = _QUERY.search(text)
        end = len(text) if begin is None else begin.end()
        path, query = _MATRIX_VALUE.sub(rf"\1={MASK}", text[:end]), text[end:]
        return self.text(path + (_VALUE.sub(f"={MASK}", query) if "=" in query else query and MASK))

    def text(self, text: str) -> str:
        """Return *text* without what the patterns match."""
        for pattern in self._patterns:
            text = pattern.sub(_masked, text)
        return text


def _masked(match: Any) -> str:
    if match.re.groups == 0:
        return MASK
    text, start = str(match.group()), match.start()
    for group in range(match.re.groups, 0, -1):
        first, last = match.span(group)
        if first >= 0:
            text = text[: first - start] + MASK + text[last - start :]
    return text
