"""Secrets that are known by their form, wherever they stand: card numbers, e-mail addresses, JWTs, URLs' passwords.

Every loop goes forward through its text, so that none is slow. *cut*: the text goes on, and we have not seen how.
"""

import re

from envoy_tap.core.redaction.editor import Editor, Replace
from envoy_tap.core.redaction.rules import Pattern

_CARD_LEAST, _CARD_MOST, _CUT_LEAST = 13, 19, 6
_LOCAL_PART = 64
# ISO/IEC 7812: payment cards begin with 2 to 6.
_ISSUERS = b"23456"
_DIGITS = re.compile(rb"[0-9]+")
_NEXT_GROUP = re.compile(rb"(?:[ +-]|\x01+)([0-9]+)")
_LETTER = re.compile(rb"[A-Za-z0-9_]")
# What every card number has, whole or cut.
_BETWEEN = rb"(?:[ +-]|\x01++)?"
_MANY_DIGITS = re.compile(rb"(?:[0-9]%b){12}[0-9]" % _BETWEEN)
_CUT_DIGITS = re.compile(rb"(?:[0-9]%b){5}[0-9]" % _BETWEEN)
# How clients write what is no letter or digit, though it ends with one: bytes of the same number stand for it while
# cards are looked for, 1 for what may stand between digits, and 2 for anything else.
_ESCAPES = tuple(
    re.compile(each)
    for each in (rb"\xc2\xa0", rb"%[Cc]2%[Aa]0", rb"%[0-9A-Fa-f]{2}", rb"\\u[0-9A-Fa-f]{4}", rb"\\[bfnrt]")
)
_BETWEEN_DIGITS = frozenset(
    {b"\xc2\xa0", b"%c2%a0", b"%20", b"%2b", b"%2d", b"\\u0020", b"\\u002b", b"\\u002d", b"\\u00a0"}
)
_CUT_TAIL = re.compile(rb"(?:[ +-]|\x01+|%[0-9A-Fa-f]?|\\(?:u[0-9A-Fa-f]{0,3})?|\xc2)\Z")
_LONGEST_ESCAPE = 6
_AT = re.compile(rb"@|%40")
_LOCAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+%-"
_LOCAL_CODES = frozenset(_LOCAL)
_ESCAPED_CHAR = re.compile(rb"u[0-9A-Fa-f]{4}")
_SCHEME_END = re.compile(rb":\\?/\\?/")
_USER = re.compile(rb"[^\s/?#\"<>]*")
_DOMAIN = re.compile(rb"[A-Za-z0-9.-]+")
_TOKEN = re.compile(rb"[A-Za-z0-9_.-]+")


def hide_patterns(text: bytes, wanted: frozenset[Pattern], replace: Replace, *, cut: bool = False) -> bytes:
    """Return *text* without what *wanted* recognises."""
    # Most texts hold nothing of the kind, which is quickly seen.
    if Pattern.JWT in wanted and b"eyJ" in text:
        text = _jwts(text, replace, cut=cut)
    if Pattern.USERINFO in wanted and (b"@" in text or cut):
        text = _users(text, replace, cut=cut)
    if Pattern.EMAIL in wanted and (b"@" in text or b"%40" in text):
        text = _emails(text, replace, cut=cut)
    if Pattern.CARD in wanted:
        text = _cards(text, replace, cut=cut)
    return text


def luhn(digits: bytes) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1, annex B)."""
    doubled = (
        digit * 2 if place % 2 else digit for place, digit in enumerate(c - 48 for c in reversed(digits))
    )
    return sum(digit - 9 if digit > 9 else digit for digit in doubled) % 10 == 0  # noqa: PLR2004 - two digits are added


def _jwts(text: bytes, replace: Replace, *, cut: bool) -> bytes:
    edit, at = Editor(text, replace), 0
    while (start := text.find(b"eyJ", at)) >= 0:
        run = _TOKEN.match(text, start)
        at = run.end() if run else start + 1
        if b"." in text[start:at] or (cut and at == len(text)):
            edit.hide(start, at)
    return edit.done()


def _emails(text: bytes, replace: Replace, *, cut: bool) -> bytes:
    edit, at, free = Editor(text, replace), 0, 0
    while sign := _AT.search(text, at):
        at = sign.end()
        before = _local(text[max(free, sign.start() - _LOCAL_PART) : sign.start()])
        run = _DOMAIN.match(text, sign.end())
        if not before or run is None:
            continue
        is_cut = cut and run.end() == len(text)
        domain = run[0] if is_cut else run[0].rstrip(b".-")
        name, dot, rest = domain.partition(b".")
        if is_cut or (name and dot and rest):
            at = free = sign.end() + len(domain)
            edit.hide(sign.start() - len(before), at)
    return edit.done()


def _local(before: bytes) -> bytes:
    """Return the local part that *before* ends with; JSON's escapes are read, and not cut in two."""
    start = len(before)
    # From the end: a regular expression with an end only is tried at each place before it.
    while (first := len(before[:start].rstrip(_LOCAL))) < start:
        start = first
        if before[start - 1 : start] != b"\\" or before[start - 2 : start - 1] == b"\\":
            break
        escape = _ESCAPED_CHAR.match(before, start)
        if escape is None:
            start += 1
            break
        if int(escape[0][1:], 16) not in _LOCAL_CODES:
            start = escape.end()
            break
        start -= 1
    return before[start:]


def _users(text: bytes, replace: Replace, *, cut: bool) -> bytes:
    edit, at = Editor(text, replace), 0
    while scheme := _SCHEME_END.search(text, at):
        run = _USER.match(text, scheme.end())
        at = run.end() if run else scheme.end()
        end = text.rfind(b"@", scheme.end(), at)
        # A password without the @ that the cut took off looks like a port.
        if cut and end < 0 and at == len(text) and b":" in text[scheme.end() :]:
            end = at
        if end > scheme.end():
            edit.hide(scheme.end(), end)
    return edit.done()


def _without_escapes(text: bytes) -> bytes:
    if b"%" in text or b"\\" in text or b"\xc2" in text:
        for each in _ESCAPES:
            text = each.sub(_stand_in, text)
    return text


def _stand_in(escape: re.Match[bytes]) -> bytes:
    return (b"\x01" if escape[0].lower() in _BETWEEN_DIGITS else b"\x02") * len(escape[0])


def _cut_tail(text: bytes) -> bytes:
    """Return what may stand between digits, or its beginning, at the end of *text*, which is cut."""
    found = _CUT_TAIL.search(text[-_LONGEST_ESCAPE:])
    return found[0] if found else b""


def _cards(text: bytes, replace: Replace, *, cut: bool) -> bytes:
    edit, at = Editor(text, replace), 0
    text = _without_escapes(text)
    end = len(text) - len(_cut_tail(text)) if cut else None
    enough = _CUT_DIGITS if cut else _MANY_DIGITS
    while (found := enough.search(text, at)) and (first := _DIGITS.match(text, found.start())):
        groups = [first.span()]
        while following := _NEXT_GROUP.match(text, groups[-1][1]):
            groups.append(following.span(1))
        at = groups[-1][1]
        i = 0
        while i < len(groups):
            last = _card_end(text, groups, i, cut_at=end)
            if last is not None:
                edit.hide(groups[i][0], groups[last][1])
            i = (i if last is None else last) + 1
    return edit.done()


def _card_end(text: bytes, groups: list[tuple[int, int]], i: int, *, cut_at: int | None) -> int | None:
    """Return the last group of the longest card that begins with group *i*."""
    start = groups[i][0]
    if (start and _LETTER.match(text, start - 1)) or (cut_at is None and text[start] not in _ISSUERS):
        return None
    digits, candidates = b"", []
    for j in range(i, len(groups)):
        digits += text[slice(*groups[j])]
        if len(digits) > _CARD_MOST:
            break
        candidates.append((j, digits))
    for j, number in reversed(candidates):
        end = groups[j][1]
        if end == cut_at and len(number) >= _CUT_LEAST:
            return j
        is_card = len(number) >= _CARD_LEAST and number[0] in _ISSUERS and luhn(number)
        if is_card and not _LETTER.match(text, end):
            return j
    return None
