"""The characters of a predicate, taken one token at a time; what a token may be depends on where it stands."""

import re

from envoy_tap.core.predicate.model import Op

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
_WORD = re.compile(r"[^\s()\"']+")
_KEY = re.compile(r"[^\s\[\]\"']+")
_SYMBOLS = sorted((op.value for op in Op if not op.value.isalpha()), key=len, reverse=True)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}


class PredicateError(ValueError):
    """A predicate that cannot be read: where, what is wrong, and what would be right.

    `offset` counts characters from 0, `line` and `column` from 1.
    """

    def __init__(self, message: str, line: int, column: int, hint: str = "", offset: int = 0) -> None:
        self.message = message
        self.offset = offset
        self.line = line
        self.column = column
        self.hint = hint
        super().__init__(f"{line}:{column}: {message}" + (f"; {hint}" if hint else ""))


class Scanner:
    """Reads *text* from its beginning to its end; every failure is a PredicateError at the token it is about."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.token_at = 0

    def error(self, message: str, hint: str = "", at: int | None = None) -> PredicateError:
        """Return an error that stands at the last token, or at the character *at*."""
        offset = self.token_at if at is None else at
        line = self._text.count("\n", 0, offset) + 1
        column = offset - (self._text.rfind("\n", 0, offset) + 1) + 1
        return PredicateError(message, line, column, hint, offset)

    def peek(self, symbol: str) -> bool:
        """Whether *symbol* comes next."""
        self._skip()
        return self._text.startswith(symbol, self._at)

    def take(self, symbol: str) -> bool:
        """Take *symbol*, if it comes next."""
        found = self.peek(symbol)
        if found:
            self._at += len(symbol)
        return found

    def peek_name(self) -> str:
        """Return the name that comes next, or ""."""
        self._skip()
        found = _NAME.match(self._text, self._at)
        return found[0] if found else ""

    def take_name(self) -> str:
        """Take the name that comes next; "" if none does."""
        name = self.peek_name()
        self._at += len(name)
        return name

    def take_word(self, word: str) -> bool:
        """Take *word*, if it comes next as a whole name."""
        return self.peek_name() == word and bool(self.take_name())

    def take_op(self) -> str:
        """Take the operator that comes next (`==` is `=`); "" if none does."""
        self._skip()
        for symbol in ("==", "!=", *_SYMBOLS):
            if self.take(symbol):
                return "=" if symbol == "==" else symbol
        name = self.peek_name()
        return self.take_name() if name in {Op.LIKE, Op.EXISTS} else ""

    def take_value(self) -> tuple[str, bool]:
        """Take a quoted text or a bare word; return it and whether it was quoted."""
        return self._take(_WORD, "a value")

    def take_key(self) -> str:
        """Take what stands between brackets."""
        return self._take(_KEY, "a name")[0]

    def rest(self) -> str:
        """Return some of what is left; "" at the end."""
        self._skip()
        return self._text[self._at : self._at + 20]

    def _skip(self) -> None:
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space else self._at
        self.token_at = self._at

    def _take(self, pattern: re.Pattern[str], wanted: str) -> tuple[str, bool]:
        self._skip()
        quote = self._text[self._at : self._at + 1]
        if quote in {'"', "'"}:
            return self._quoted(quote), True
        found = pattern.match(self._text, self._at)
        if found is None:
            raise self.error(
                f"{wanted} is missing here", "put it in quotes if it holds spaces, brackets or quotes"
            )
        self._at = found.end()
        return found[0], False

    def _quoted(self, quote: str) -> str:
        taken: list[str] = []
        at = self._at + 1
        while True:
            char = self._text[at : at + 1]
            if not char:
                raise self.error("this text has no end", f"close it with {quote}")
            if char == quote:
                self._at = at + 1
                return "".join(taken)
            if char == "\\":
                plain = _ESCAPES.get(self._text[at + 1 : at + 2])
                if plain is None:
                    hint = r"known are \\ \" \' \n \r \t; write a backslash as \\"
                    raise self.error(f"{self._text[at : at + 2]!r} is no escape", hint, at=at)
                taken.append(plain)
                at += 2
            else:
                taken.append(char)
                at += 1
