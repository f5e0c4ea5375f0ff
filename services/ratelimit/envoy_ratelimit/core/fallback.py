"""What decides while the store cannot: buckets in this process that hold a share of each limit."""

from collections.abc import Sequence
from fractions import Fraction

from envoy_ratelimit.core.rule import Rule
from envoy_ratelimit.core.store import KEPT, BucketStore, Take
from envoy_ratelimit.core.token_bucket import Outcome

_FINEST = 1_000_000


class LocalShare:
    """Buckets of *store* (in this process) that hold a *share* of each limit: one by the number of replicas.

    A bucket starts new when the store is asked for it first, and holds at least one request. ValueError for a share
    that is not above 0 and at most 1.
    """

    __slots__ = ("_share", "_store")

    def __init__(self, store: BucketStore, share: float | Fraction = 1) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"a share is above 0 and at most 1, not {share}")
        self._store = store
        self._share = Fraction(share).limit_denominator(_FINEST) or Fraction(1, _FINEST)

    def part_of(self, rule: Rule, take: Take) -> Take:
        """Return the take of this process's share that stands for *take* of a rule."""
        key, _, cost, mode = take
        return key, rule.bucket_with(self._share), cost, mode

    def take(self, takes: Sequence[Take], *, refused: bool) -> Sequence[Outcome]:
        """Decide one request; what is *refused* anyway is only charged where that is kept."""
        if refused:
            takes = [take if take[3] & KEPT else (take[0], take[1], 0, take[3]) for take in takes]
        return self._store.take([takes])[0]
