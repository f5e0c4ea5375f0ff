"""What of a decision is not to be written down."""

import re
from collections.abc import Iterable

MASK = "***"
# Where a query or a fragment begins, also one that only another reader takes for it.
_QUERY = re.compile(r"[?#]|%(?:25)*(?:3f|23)", re.IGNORECASE)
_VALUE = re.compile(r"=[^&#;?]*")
_MATRIX_VALUE = re.compile(r"(;[^/;=]*)=[^/;]*")


class Masks:
    """Masks the values of query, fragment and matrix parameters, always, and what the groups of *patterns* match in any text.

    A pattern without a group masks all that it matches. Raises ValueError for one that is no regular expression.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        try:
            self._patterns = [re.compile(pattern) for pattern in patterns]
        except re.error as error:
            raise ValueError(f"{error.pattern!r} is no regular expression: {error}") from None

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


def _masked(match: re.Match[str]) -> str:
    if match.re.groups == 0:
        return MASK
    text, start = match[0], match.start()
    for group in range(match.re.groups, 0, -1):
        first, last = match.span(group)
        if first >= 0:
            text = text[: first - start] + MASK + text[last - start :]
    return text
