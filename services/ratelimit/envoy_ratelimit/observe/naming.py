"""Naming what was limited, for people: from a rule and the name of its bucket, read backwards only when shown."""

from hashlib import blake2b
from typing import Literal

KeyStyle = Literal["plain", "hashed", "none"]
_HASH_BYTES = 8


def shown_key(key_prefix: str, bucket_key: str, style: KeyStyle, salt: str = "") -> str:
    """Return the values that are part of a bucket's name as *style* has it; see Rule for the *key_prefix*."""
    if style == "none":
        return ""
    value = value_of(key_prefix, bucket_key)
    return hashed(value, salt) if style == "hashed" else value


def value_of(key_prefix: str, bucket_key: str) -> str:
    """Return the values of the request that are part of a bucket's name, `alice` or `alice, /login`; may be empty.

    A name that was shortened to a digest is shown as it is.
    """
    if not bucket_key.startswith(key_prefix):
        return bucket_key
    texts = _measured(bucket_key[len(key_prefix) :])
    return bucket_key if texts is None else ", ".join(texts)


def hashed(value: str, salt: str = "") -> str:
    """Return a short digest of *value*: the same for the same, and not to be read."""
    if not value:
        return ""
    digest = blake2b(value.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES, key=salt.encode()[:64])
    return f"#{digest.hexdigest()}"


def _measured(text: str) -> list[str] | None:
    """Take apart texts that stand in a row, each after its length: `5:alice6:/login`; None if they do not."""
    texts: list[str] = []
    at = 0
    while at < len(text):
        length, colon, _ = text[at : at + 12].partition(":")
        if not colon or not length.isdigit():
            return None
        begin = at + len(length) + 1
        at = begin + int(length)
        if at > len(text):
            return None
        texts.append(text[begin:at])
    return texts
