"""What decides while the store cannot: buckets in this process that hold a share of each limit."""

from collections.abc import Sequence
from fractions import Fraction

from envoy_ratelimit.core.rule import Rule
from envoy_ratelimit.core.store import ENFORCED, QUOTA, BucketStore, Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome

_FINEST = 1_000_000
_REFUSAL: Take = ("", BucketSpec.of(0, 1), 1, ENFORCED)
"""A ban, which stands for whatever refuses a request elsewhere."""


class LocalShare:
    """Buckets of *store* (in this process) that hold a *share* of each limit: one by the number of replicas.

    A bucket starts new when the store is asked for it first, holds at least one request, and is full again within 100
    years. ValueError for a share that is not above 0 and at most 1.
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

    def take(self, takes: Sequence[Take], others: Sequence[tuple[int, bool]]) -> Sequence[Outcome]:
        """Decide a request's takes in here; *others* are the mode of each of its other takes, and whether it is allowed.

        If those refuse the request, only what is kept all the same is charged. If they have a quota that is not over,
        no quota in here refuses it.
        """
        quotas = [allowed for mode, allowed in others if mode & QUOTA]
        refused = any(mode & ENFORCED and not allowed for mode, allowed in others)
        if any(quotas):
            takes = [(key, spec, cost, mode & ~QUOTA) for key, spec, cost, mode in takes]
        elif quotas and not any(mode & QUOTA for _, _, _, mode in takes):
            refused = True
        return self._store.take([[*takes, _REFUSAL] if refused else takes])[0][: len(takes)]
