"""Buckets in Redis or Valkey, shared by all processes that use it: one script call decides a batch."""

from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha1
from importlib.resources import files
from struct import Struct
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.core.token_bucket import BucketSpec, Outcome, outcome, take

_SCRIPT = files(__package__).joinpath("token_bucket.lua").read_bytes()
_SCRIPT_ID = sha1(_SCRIPT, usedforsecurity=False).hexdigest()
_TAKE = Struct("<6d")
_ENFORCED, _GIVES_BACK, _NEVER, _LAST = 1, 2, 4, 8
_FIELDS = 3


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
        keys: list[str] = []
        packed: list[bytes] = []
        for takes in batch:
            last = len(takes)
            for key, spec, cost, enforced in takes:
                last -= 1
                keys.append(key)
                packed.append(_packed(spec, cost, enforced, last == 0))
        if not keys:
            return [[] for _ in batch]
        reply = self._call(keys, b"".join(packed))
        now_us = reply[0]
        at = 1
        results: list[list[Outcome]] = []
        for takes in batch:
            outcomes: list[Outcome] = []
            for _, spec, cost, _ in takes:
                tat = _brought_up(spec, reply[at + 1] * spec.scale + reply[at + 2], now_us)
                outcomes.append(outcome(spec, tat, now_us, cost, allowed=reply[at] == 1))
                at += _FIELDS
            results.append(outcomes)
        return results

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _call(self, keys: list[str], takes: bytes) -> list[int]:
        try:
            try:
                reply: list[int] = self._client.execute_command(
                    "EVALSHA", _SCRIPT_ID, len(keys), *keys, takes
                )
            except NoScriptError:
                reply = self._client.execute_command("EVAL", _SCRIPT, len(keys), *keys, takes)
        except RedisTimeoutError as error:
            raise StoreError("timeout", f"Redis did not answer in time: {error}") from error
        except (RedisConnectionError, OSError) as error:
            raise StoreError("connection", f"Redis cannot be reached: {error}") from error
        except RedisError as error:
            raise StoreError("response", f"Redis refused: {error}") from error
        return reply


def _brought_up(spec: BucketSpec, tat: int, now_us: int) -> int:
    """Return what a stored TAT means now: the script answers a bucket it did not charge as it found it."""
    return take(spec, tat, now_us, 0)[1]


@lru_cache(maxsize=65_536)
def _packed(spec: BucketSpec, cost: int, enforced: bool, last: bool) -> bytes:
    """Return one take as the script reads it. Costs are cut at the capacity, so that all numbers stay exact."""
    capacity, interval, scale, span = spec
    flags = (_ENFORCED if enforced else 0) | (_LAST if last else 0)
    if cost > capacity or capacity == 0:
        flags |= _NEVER
        cost = 0
    elif cost < 0:
        flags |= _GIVES_BACK
    moves = min(abs(cost), capacity) * interval
    return _TAKE.pack(flags, *divmod(moves, scale), scale, *divmod(max(span, 0), scale))
