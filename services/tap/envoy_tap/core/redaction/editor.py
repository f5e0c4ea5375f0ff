"""Replacing pieces of a text, from its beginning to its end."""

from collections.abc import Callable

MOST_STEPS = 1 << 18
"""How much is done for one body, step by step: about a second's work."""

Replace = Callable[[bytes], bytes]
"""What takes a secret's place; a placeholder that is there already is its own."""


class TooMuchError(Exception):
    """To look into all of a body would take too long; nothing of it may be shown."""


class Steps:
    """Counts down what is done for one body; raises TooMuchError when that was enough."""

    def __init__(self) -> None:
        self._left = MOST_STEPS

    def take(self, steps: int = 1) -> None:
        """Do so many more."""
        self._left -= steps
        if self._left < 0:
            raise TooMuchError


class Editor:
    """Collects *text* with pieces of it replaced; the pieces come in their order."""

    def __init__(self, text: bytes, replace: Replace) -> None:
        self._text = text
        self._replace = replace
        self._out: list[bytes] = []
        self._copied = 0

    def hide(self, start: int, end: int) -> None:
        """Replace the bytes from *start* to before *end*."""
        self.put(start, end, self._replace(self._text[start:end]))

    def put(self, start: int, end: int, with_: bytes) -> None:
        """Put *with_* there."""
        self._out += (self._text[self._copied : start], with_)
        self._copied = end

    def done(self) -> bytes:
        """Return what came of it."""
        return b"".join((*self._out, self._text[self._copied :])) if self._out else self._text
