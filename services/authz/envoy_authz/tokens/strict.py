"""Base64url and JSON read as JOSE means them; Python's own readers accept much more (RFC 8725 section 2.4, 3.1).

`base64.urlsafe_b64decode` drops illegal characters and takes tails that are not canonical, so many texts would be one
token; `json.loads` takes the last of duplicate members, NaN, and nesting up to the end of the stack.
"""

import json
import math
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import NoReturn

MAX_DEPTH = 32
"""How deep JSON may nest, in arrays and objects."""

MAX_DIGITS = 32
"""How many characters a number may have."""

_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_MAY_BE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def decode_base64url(text: str) -> bytes:
    """Return what *text* encodes (RFC 7515 section 2: no padding); raises ValueError unless it is the one encoding."""
    data = text.encode("ascii")
    decoded = urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    # Only the canonical form comes back as it was: this refuses padding, illegal characters and loose tails at once.
    if urlsafe_b64encode(decoded).rstrip(b"=") != data:
        raise ValueError("not canonical base64url")
    return decoded


def encode_base64url(data: bytes) -> str:
    """Return *data* in base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def parse_object(data: bytes | str) -> dict[str, object]:
    """Return a JSON object in UTF-8; raises ValueError for anything that readers of JSON understand differently.

    That is: duplicate members, NaN and infinities, numbers beyond `MAX_DIGITS` or a double's range, nesting beyond
    `MAX_DEPTH`, and half a character (a lone surrogate).
    """
    text = data if isinstance(data, str) else data.decode("utf-8")
    if text.count("[") + text.count("{") > MAX_DEPTH:
        _check_depth(text)
    value = json.loads(
        text,
        object_pairs_hook=_object,
        parse_constant=_no_constant,
        parse_int=_integer,
        parse_float=_float,
    )
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the text is at fault, not a type
    if _MAY_BE_SURROGATE.search(text):
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for match in _STRUCTURE.finditer(text):
        mark = match[0]
        if mark in {"[", "{"}:
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deep")
        elif mark in {"]", "}"}:
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is given twice")
    return members


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("not a JSON number")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too long")
    return int(text)


def _float(text: str) -> float:
    if len(text) > MAX_DIGITS:
        raise ValueError("a number is too long")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number
