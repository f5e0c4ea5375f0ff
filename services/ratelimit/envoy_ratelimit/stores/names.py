"""What a bucket is called in Redis: its prefix, and on a cluster the hash tag that says which buckets lie together."""

import re
from collections.abc import Callable
from typing import Literal

Spread = Literal["domain", "bucket"]
SLOTS = 16_384
_TAG = re.compile(r"\{[^}]+\}")
_DOMAIN = re.compile(r"[^|#]*\|(\d+):")
_WHOLE_KEY = "{}"
"""An empty hash tag: the whole key is hashed, whatever braces it has, so that no caller can choose its slot."""


def single_names(prefix: str) -> Callable[[str], str] | None:
    """Return what names a bucket where slots do not matter; None if that changes nothing."""
    return (lambda key: prefix + key) if prefix else None


def cluster_names(prefix: str, spread: Spread) -> Callable[[str], str]:
    """Return what names a bucket on a cluster.

    A *prefix* with a hash tag puts all buckets into one slot. Otherwise *spread* decides: `domain` gives the buckets of
    a domain one slot, so that each request is decided in one place; `bucket` gives each bucket its own.
    """
    if _TAG.search(prefix):
        return lambda key: prefix + key
    if "{" in prefix:
        raise ValueError("a '{' in the key prefix must begin a hash tag: {tag}")
    if spread == "bucket":
        return lambda key: f"{prefix}{_WHOLE_KEY}{key}"
    return lambda key: f"{prefix}{{{_domain(key)}}}{key}"


def _domain(key: str) -> str:
    """Return the part of a key that names its domain, with its length; of a hashed one, that it is hashed."""
    found = _DOMAIN.match(key)
    if found is None:
        return "0:" + key.partition("#")[0]
    return key[found.start(1) : found.end() + int(found[1])]
