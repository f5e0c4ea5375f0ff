"""One limit, as a compiled rule that knows its bucket and how to name it."""

from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from envoy_ratelimit.core.store import Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec

Entry = tuple[str, str]
KEY_FORMAT = "rl1"
MAX_KEY_CHARACTERS = 256
_DIGEST_BYTES = 20
_DAY_S = 86_400


class Unit(IntEnum):
    """A limit's unit of time; the numbers are those of Envoy's `RateLimitResponse.RateLimit.Unit`."""

    SECOND = 1
    MINUTE = 2
    HOUR = 3
    DAY = 4
    MONTH = 5
    YEAR = 6
    WEEK = 7

    @property
    def seconds(self) -> int:
        """How long it is; a month is 30 days, a year 365."""
        return _SECONDS[self]


_SECONDS = {
    Unit.SECOND: 1,
    Unit.MINUTE: 60,
    Unit.HOUR: 3600,
    Unit.DAY: _DAY_S,
    Unit.WEEK: 7 * _DAY_S,
    Unit.MONTH: 30 * _DAY_S,
    Unit.YEAR: 365 * _DAY_S,
}


class Rate(NamedTuple):
    """So many requests in a unit of time; 0 requests is a ban."""

    requests_per_unit: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.requests_per_unit}/{self.unit.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One limit, compiled; equal only to itself, so that it is a cheap key of a dict.

    `path` names it within its `domain` (`database_users.user`) for people and metrics. `rate` is None if it is
    unlimited. `key_prefix` begins the names of its buckets; `variable` are the positions of the entries whose value
    the request supplies, in ascending order.
    """

    domain: str
    path: str
    rate: Rate | None
    name: str = ""
    shadow_mode: bool = False
    key_prefix: str = ""
    variable: tuple[int, ...] = ()
    bucket: BucketSpec | None = field(init=False)
    single_take: Take | None = field(init=False)
    """The take of one hit, if no value of the request is part of the bucket's key."""

    def __post_init__(self) -> None:
        bucket = None
        single = None
        if self.rate is not None:
            bucket = bucket_of(self.rate)
            if not self.variable:
                single = (shortened(self.key_prefix), bucket, 1, not self.shadow_mode)
        object.__setattr__(self, "bucket", bucket)
        object.__setattr__(self, "single_take", single)

    def bucket_key(self, entries: "Entries") -> str:
        """Return the name of the bucket that counts *entries*: unambiguous, and of at most MAX_KEY_CHARACTERS."""
        key = self.key_prefix
        for position in self.variable:
            value = entries[position][1]
            key += f"{len(value)}:{value}"
        return key if len(key) <= MAX_KEY_CHARACTERS else shortened(key)


Entries = list[Entry] | tuple[Entry, ...]


@lru_cache(maxsize=1024)
def bucket_of(rate: Rate) -> BucketSpec:
    """Return the bucket of a rate: it holds one unit's requests, and fills in one unit."""
    return BucketSpec.of(rate.requests_per_unit, rate.unit.seconds * MICROSECONDS)


def shortened(key: str) -> str:
    """Return *key*, or a digest of it (BLAKE2b, 160 bits) if it is longer than MAX_KEY_CHARACTERS."""
    if len(key) <= MAX_KEY_CHARACTERS:
        return key
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{KEY_FORMAT}#{digest.hexdigest()}"
