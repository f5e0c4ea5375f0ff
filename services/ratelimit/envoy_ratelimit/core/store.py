"""The bucket store port: where buckets live. A store decides whole batches, each request all-or-nothing."""

from collections.abc import Sequence
from typing import Protocol

from envoy_ratelimit.core.algorithms import Spec
from envoy_ratelimit.core.token_bucket import Outcome

ENFORCED, QUOTA, KEPT = 1, 2, 4
"""What a take's mode is made of.

ENFORCED: if it is refused, so is its request. QUOTA: if all such takes of a request are refused, so is the request.
Neither: its refusal refuses nobody (shadow mode). KEPT: what it charged stays charged when its request is refused.
"""

Take = tuple[str, Spec, int, int]
"""One descriptor's wish: (bucket key, bucket, cost, mode).

The cost is in tokens: 0 peeks, a negative one gives back. Takes of one bucket have one spec and one mode.
"""


class StoreError(Exception):
    """The store did not answer in time or at all; `kind` is a short word for a metric: timeout, connection, response."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class BucketStore(Protocol):
    """Holds buckets by key, creating a new one for a key it does not know, and forgetting those that are as new."""

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[Outcome]]:
        """Decide a batch of requests in order; return an outcome for each take of each request.

        Within a request all or nothing: if it is refused (see the modes), only its KEPT takes are charged, and the
        outcomes speak of the buckets as they stay. A bucket with debt is charged by what it refuses itself, too, if
        its take is KEPT. Takes of one request on one bucket see each other's charges.
        Raises StoreError if the store cannot decide (then some of the batch may have been charged).
        """

    def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""
