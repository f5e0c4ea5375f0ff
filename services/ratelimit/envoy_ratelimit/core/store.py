"""The bucket store port: where buckets live. A store decides whole batches, each request all-or-nothing."""

from collections.abc import Sequence
from typing import Protocol

from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome

Take = tuple[str, BucketSpec, int, bool]
"""One descriptor's wish: (bucket key, bucket, cost, enforced).

The cost is in tokens: 0 peeks, a negative one gives back. A take that is not enforced (shadow mode) is charged if its
own bucket allows, but its refusal does not refuse the request.
"""


class StoreError(Exception):
    """The store did not answer in time or at all; `kind` is a short word for a metric: timeout, connection, response."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


class BucketStore(Protocol):
    """Holds buckets by key, creating a full one for a key it does not know, and forgetting those that are full again."""

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[Outcome]]:
        """Decide a batch of requests in order; return an outcome for each take of each request.

        Within a request all or nothing: if an enforced take is refused, nothing of that request is charged, and the
        outcomes speak of the buckets as they stay. Takes of one request on one bucket see each other's charges.
        Raises StoreError if the store cannot decide (then some of the batch may have been charged).
        """

    def close(self) -> None:
        """Let go of connections; the store is not used afterwards."""
