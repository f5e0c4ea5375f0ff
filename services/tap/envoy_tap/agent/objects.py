"""JSON objects out of a stream of bytes, one after the other; sans-IO."""

import json
import re
from typing import Any

_MARK = re.compile(rb'[{}"\\]')
_OPEN, _CLOSE, _QUOTE, _ESCAPE = b"{", b"}", b'"', b"\\"


class Objects:
    """Cuts what is fed into objects, each once it is whole. One longer than *max_bytes* is passed over and counted."""

    def __init__(self, max_bytes: int) -> None:
        self.passed_over = 0
        self._max_bytes = max_bytes
        self._held = bytearray()
        self._seen = 0
        self._depth = 0
        self._in_string = False
        self._start = 0
        self._is_too_long = False

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take *data* in and return the objects that it completes; what cannot be read is passed over and counted."""
        self._held += data
        found: list[dict[str, Any]] = []
        while (mark := _MARK.search(self._held, self._seen)) is not None:
            at = mark.start()
            if mark[0] == _ESCAPE:
                if at + 1 == len(self._held):
                    # What it escapes is still to come.
                    self._seen = at
                    break
                self._seen = at + 2
                continue
            self._seen = at + 1
            self._count(mark[0], at)
            if mark[0] == _CLOSE and not self._depth and not self._in_string:
                found += self._whole()
        else:
            self._seen = len(self._held)
        self._let_go()
        return found

    def _count(self, mark: bytes, at: int) -> None:
        if mark == _QUOTE:
            self._in_string = not self._in_string
        elif not self._in_string:
            if mark == _OPEN and not self._depth:
                self._start = at
            self._depth = max(0, self._depth + (1 if mark == _OPEN else -1))

    def _whole(self) -> list[dict[str, Any]]:
        text = bytes(self._held[self._start : self._seen])
        del self._held[: self._seen]
        self._seen = self._start = 0
        was_too_long, self._is_too_long = self._is_too_long, False
        if was_too_long:
            return []
        try:
            read: Any = json.loads(text)
        except (ValueError, RecursionError):
            self.passed_over += 1
            return []
        return [read]

    def _let_go(self) -> None:
        if not self._depth:
            del self._held[: self._seen]
            self._seen = 0
        elif self._is_too_long or len(self._held) - self._start > self._max_bytes:
            self.passed_over += not self._is_too_long
            self._is_too_long = True
            del self._held[: self._seen]
            self._seen = self._start = 0
