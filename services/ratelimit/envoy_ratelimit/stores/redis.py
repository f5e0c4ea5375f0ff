"""Buckets in Redis or Valkey, shared by all processes that use it: one script call decides a batch."""

from collections.abc import Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import Outcome
from envoy_ratelimit.stores.packing import SCRIPT, SCRIPT_ID, pack, unpack


class RedisStore:
    """The Redis store: a synchronous client, connected when first used and again after a failure.

    *url* is redis-py's: `redis://user:password@host:6379/0`, `rediss://` for TLS, `unix:///path`. *timeout_s* bounds
    each wait for the server, and nothing is tried twice. ValueError if the URL cannot be read.
    """

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._client: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            # RESP2 and no name of a library: a new connection then costs no round trip before its first command.
            protocol=2,
            driver_info=None,
        )

    def take(self, batch: Sequence[Sequence[Take]]) -> list[list[Outcome]]:
        """See BucketStore; the clock is the server's."""
        keys, takes = pack(batch)
        return unpack(batch, self._call(keys, takes)) if keys else [[] for _ in batch]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, keys: list[str], takes: bytes) -> list[int]:
        try:
            try:
                reply: list[int] = self._client.execute_command("EVALSHA", SCRIPT_ID, len(keys), *keys, takes)
            except NoScriptError:
                reply = self._client.execute_command("EVAL", SCRIPT, len(keys), *keys, takes)
        except RedisTimeoutError as error:
            raise StoreError("timeout", f"Redis did not answer in time: {error}") from error
        except (RedisConnectionError, OSError) as error:
            raise StoreError("connection", f"Redis cannot be reached: {error}") from error
        except RedisError as error:
            raise StoreError("response", f"Redis refused: {error}") from error
        return reply
