"""Secrets that are known by their form, wherever they stand: card numbers, e-mail addresses, JWTs.

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
_NEXT_GROUP = re.compile(rb"[ +-]([0-9]+)")
_LETTER = re.compile(rb"[A-Za-z0-9_]")
# What every card number has, whole or cut; digits that no others can follow.
_MANY_DIGITS = re.compile(rb"(?:[0-9][ +-]?){12}[0-9]")
_CUT_DIGITS = re.compile(rb"(?:[0-9][ +-]?){5}[0-9]")
_AT = re.compile(rb"@|%40")
_LOCAL = re.compile(rb"[A-Za-z0-9._+%-]+\Z")
_DOMAIN = re.compile(rb"[A-Za-z0-9.-]+")
_TOKEN = re.compile(rb"[A-Za-z0-9_.-]+")


def hide_patterns(text: bytes, wanted: frozenset[Pattern], replace: Replace, *, cut: bool = False) -> bytes:
    """Return *text* without what *wanted* recognises."""
    # Most texts hold nothing of the kind, which is quickly seen.
    if Pattern.JWT in wanted and b"eyJ" in text:
        text = _jwts(text, replace, cut=cut)
    if Pattern.EMAIL in wanted and (b"@" in text or b"%40" in text):
        text = _emails(text, replace, cut=cut)
    if Pattern.CARD in wanted and (_CUT_DIGITS if cut else _MANY_DIGITS).search(text):
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
        before = _LOCAL.search(text[max(free, sign.start() - _LOCAL_PART) : sign.start()])
        run = _DOMAIN.match(text, sign.end())
        if before is None or run is None:
            continue
        is_cut = cut and run.end() == len(text)
        domain = run[0] if is_cut else run[0].rstrip(b".-")
        name, dot, rest = domain.partition(b".")
        if is_cut or (name and dot and rest):
            at = free = sign.end() + len(domain)
            edit.hide(sign.start() - len(before[0]), at)
    return edit.done()


def _cards(text: bytes, replace: Replace, *, cut: bool) -> bytes:
    edit, at = Editor(text, replace), 0
    while first := _DIGITS.search(text, at):
        groups = [first.span()]
        while following := _NEXT_GROUP.match(text, groups[-1][1]):
            groups.append(following.span(1))
        at = groups[-1][1]
        i = 0
        while i < len(groups):
            last = _card_end(text, groups, i, cut=cut)
            if last is not None:
                edit.hide(groups[i][0], groups[last][1])
            i = (i if last is None else last) + 1
    return edit.done()


def _card_end(text: bytes, groups: list[tuple[int, int]], i: int, *, cut: bool) -> int | None:
    """Return the last group of the longest card that begins with group *i*."""
    start = groups[i][0]
    if (start and _LETTER.match(text, start - 1)) or not (cut or text[start] in _ISSUERS):
        return None
    digits, candidates = b"", []
    for j in range(i, len(groups)):
        digits += text[slice(*groups[j])]
        if len(digits) > _CARD_MOST:
            break
        candidates.append((j, digits))
    for j, number in reversed(candidates):
        end = groups[j][1]
        if cut and end == len(text) and len(number) >= _CUT_LEAST:
            return j
        is_card = len(number) >= _CARD_LEAST and number[0] in _ISSUERS and luhn(number)
        if is_card and not _LETTER.match(text, end):
            return j
    return None
