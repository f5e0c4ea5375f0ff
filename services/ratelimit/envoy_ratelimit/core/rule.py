"""One limit, as a compiled rule that knows its bucket and how to name it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from fractions import Fraction
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from envoy_ratelimit.core.algorithms import Algorithm, Spec, make_spec
from envoy_ratelimit.core.store import ENFORCED, KEPT, QUOTA, Take
from envoy_ratelimit.core.token_bucket import MAX_SPAN_US, MICROSECONDS

Entry = tuple[str, str]
KEY_FORMAT = "rl1"
MAX_KEY_CHARACTERS = 256
MAX_LABEL_CHARACTERS = 256
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
    """So many requests in `multiplier` units of time; 0 requests is a ban."""

    requests_per_unit: int
    unit: Unit
    multiplier: int = 1

    @property
    def period_us(self) -> int:
        """The time that `requests_per_unit` are for, in microseconds."""
        return self.unit.seconds * self.multiplier * MICROSECONDS

    @property
    def whole_unit(self) -> Unit | None:
        """The unit that the period is one of (60 seconds are a minute), if there is one."""
        return _UNIT_OF.get(self.unit.seconds * self.multiplier)

    def __str__(self) -> str:
        period = self.unit.name if self.multiplier == 1 else f"{self.multiplier}x{self.unit.name}"
        return f"{self.requests_per_unit}/{period}"


_UNIT_OF = {seconds: unit for unit, seconds in _SECONDS.items()}


class Charge(StrEnum):
    """What is charged when a request is refused."""

    ALL_OR_NOTHING = "all_or_nothing"
    """Nothing."""
    EACH = "each"
    """The buckets that had room, whatever the others said."""
    ALWAYS = "always"
    """Everything: a bucket without room goes into debt, so that a cost that is known only afterwards is never lost."""


class FailurePolicy(StrEnum):
    """What a request gets that the store could not decide."""

    ALLOW = "allow"
    DENY = "deny"
    LOCAL = "local"
    """What a bucket in this process says, which holds a share of the limit."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One limit, compiled; equal only to itself, so that it is a cheap key of a dict.

    `path` names it within its `domain` (`database_users.user`) for people and metrics. `rate` is None if it is
    unlimited. `key_prefix` begins the names of its buckets, and of it the first `fixed_characters` are in each name,
    however long; `variable` are the positions of the entries whose value the request supplies, in ascending order.
    `labelled` are the positions of `parts` (of the path) that metrics show with the value of the request. `on_failure`
    None leaves it to the service.
    """

    domain: str
    path: str
    rate: Rate | None
    name: str = ""
    shadow_mode: bool = False
    key_prefix: str = ""
    variable: tuple[int, ...] = ()
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET
    burst: int | None = None
    charge: Charge = Charge.ALL_OR_NOTHING
    quota_mode: bool = False
    replaces: frozenset[str] = frozenset()
    on_failure: FailurePolicy | None = None
    metadata: Mapping[str, object] | None = None
    labelled: tuple[int, ...] = ()
    parts: tuple[str, ...] = ()
    fixed_characters: int = 0
    shadowed_by_service: bool = False
    """Whether only an option of the service puts it in shadow mode: then its status says what would be, as the reference's."""
    dropped: bool = False
    """Whether this stands for a rule that another one of the request replaces."""
    bucket: Spec | None = field(init=False)
    mode: int = field(init=False)
    single_take: Take | None = field(init=False)
    """The take of one hit, if no value of the request is part of the bucket's key."""
    replaced: "Rule | None" = field(init=False)
    """What stands for this rule where another one of the request replaces it; None for one without a name."""

    def __post_init__(self) -> None:
        mode = 0 if self.shadow_mode else QUOTA if self.quota_mode else ENFORCED
        if self.charge is not Charge.ALL_OR_NOTHING:
            mode |= KEPT
        bucket = None
        single = None
        if self.rate is not None:
            bucket = self.bucket_with()
            if not self.variable:
                single = (shortened(self.key_prefix, self.fixed_characters), bucket, 1, mode)
        object.__setattr__(self, "bucket", bucket)
        object.__setattr__(self, "mode", mode)
        object.__setattr__(self, "single_take", single)
        replaced = replace(self, rate=None, dropped=True) if self.name and not self.dropped else None
        object.__setattr__(self, "replaced", replaced)

    def bucket_key(self, entries: "Entries") -> str:
        """Return the name of the bucket that counts *entries*: unambiguous, and of at most MAX_KEY_CHARACTERS."""
        key = self.key_prefix
        for position in self.variable:
            value = entries[position][1]
            key += f"{len(value)}:{value}"
        return key if len(key) <= MAX_KEY_CHARACTERS else shortened(key, self.fixed_characters)

    def bucket_with(self, share: Fraction = Fraction(1)) -> Spec:
        """Return the bucket for a *share* (0 to 1) of the limit; it holds at least one request, unless it is a ban."""
        if self.rate is None:
            raise ValueError("what is unlimited has no bucket")
        return bucket_of(
            self.rate, self.algorithm, self.burst, debt=self.charge is Charge.ALWAYS, share=share
        )

    def label(self, entries: "Entries") -> str:
        """Return the path for metrics, with the values of the request at the `labelled` positions."""
        if not self.labelled:
            return self.path
        parts = list(self.parts)
        for position in self.labelled:
            key, value = entries[position]
            parts[position] = f"{key}_{value}" if value else key
        return ".".join(parts)[:MAX_LABEL_CHARACTERS]


Entries = list[Entry] | tuple[Entry, ...]


@lru_cache(maxsize=1024)
def bucket_of(
    rate: Rate,
    algorithm: Algorithm = Algorithm.TOKEN_BUCKET,
    burst: int | None = None,
    *,
    debt: bool = False,
    share: Fraction = Fraction(1),
) -> Spec:
    """Return the bucket of a *share* of a rate; unless there is a *burst*, it holds the requests of its period.

    ValueError if the rate's own bucket would take more than 100 years to fill. A share of one that does not takes 100
    years at most: it is there to decide while nothing else can, so it may be more than its share but never a fault.
    """
    requests, _, _ = rate
    if share == 1 or requests == 0 or burst == 0:
        return make_spec(algorithm, requests, rate.period_us, burst=burst, debt=debt)
    if algorithm is not Algorithm.TOKEN_BUCKET:
        return make_spec(algorithm, max(int(requests * share), 1), rate.period_us, debt=debt)
    held = max(int((requests if burst is None else burst) * share), 1)
    tokens, period_us = requests * share.numerator, rate.period_us * share.denominator
    if held * period_us > MAX_SPAN_US * tokens:
        tokens, period_us = held, MAX_SPAN_US
    return make_spec(algorithm, tokens, period_us, burst=held, debt=debt)


def shortened(key: str, fixed_characters: int = 0) -> str:
    """Return *key*, or if it is longer than MAX_KEY_CHARACTERS its fixed characters and a digest (BLAKE2b, 160 bits)."""
    if len(key) <= MAX_KEY_CHARACTERS:
        return key
    digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{key[:fixed_characters] or KEY_FORMAT}#{digest.hexdigest()}"
