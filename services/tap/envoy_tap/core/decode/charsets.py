"""Bytes to characters: as declared, as a byte order mark says, as UTF-8, and by a guess at last."""

import codecs
import re
from dataclasses import dataclass

from charset_normalizer import from_bytes

# Which of Python's codecs a header may ask for: real charsets. Others are slow on purpose-made input (punycode), or none.
_ALLOWED = frozenset(
    {"ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
    | {f"iso8859-{number}" for number in range(1, 17)}
    | {f"cp{number}" for number in (437, 850, 852, 866, 874, 932, 949, 950, *range(1250, 1259))}
    | {"koi8-r", "koi8-u", "mac-roman", "shift_jis", "euc_jp", "iso2022_jp", "euc_kr"}
    | {"gb2312", "gbk", "gb18030", "big5"}
)
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,40}")
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# A guess is dear, and more of the same makes it no better.
_SAMPLE_BYTES = 16 << 10
_MOST_CUT_BYTES = 3
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Characters:
    """Text, the name of the charset that it was in, and what is to be said about that ("" if nothing)."""

    text: str
    charset: str
    note: str = ""


def known(name: str) -> str:
    """Return Python's name of a declared charset; "" for one that is not read here."""
    if not _NAME.fullmatch(name):
        return ""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return ""
    return found if found in _ALLOWED else ""


def declared_text(data: bytes, declared: str, *, cut: bool = False) -> Characters | None:
    """Return *data* as the charset *declared* (a header's word) reads it; None where it is not known, or not said.

    What cannot be read in it becomes U+FFFD. *cut*: the last character may be only begun.
    """
    charset = known(declared)
    if not charset:
        return None
    try:
        return Characters(_strict(data, charset, cut=cut), charset)
    except ValueError:
        note = f"not all of it can be read as {charset}; what cannot is shown as \N{REPLACEMENT CHARACTER}"
        return Characters(data.decode(charset, errors="replace"), charset, note)


def found_text(data: bytes, *, cut: bool = False) -> Characters | None:
    """Return *data* as text if it is UTF-8, or begins with a byte order mark, and holds no control characters."""
    charset = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = _strict(data, charset, cut=cut)
    except ValueError:
        return None
    return None if _CONTROLS.search(text) else Characters(text, charset.removesuffix("-sig"))


def guessed_text(data: bytes) -> Characters | None:
    """Return *data*, which is said to be text, in the charset that its beginning looks like; None if like none."""
    guess = from_bytes(data[:_SAMPLE_BYTES]).best()
    if guess is None:
        return None
    note = f"no charset is declared; this is read as {guess.encoding}, by a guess"
    return Characters(data.decode(guess.encoding, errors="replace"), guess.encoding, note)


def _strict(data: bytes, charset: str, *, cut: bool) -> str:
    decoder = codecs.getincrementaldecoder(charset)()
    text = decoder.decode(data, final=not cut)
    pending = len(decoder.getstate()[0])
    if pending > _MOST_CUT_BYTES:
        raise ValueError("more than one character is missing")
    return text
