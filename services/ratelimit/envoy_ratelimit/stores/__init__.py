"""Where buckets live, behind one port: in this process, or in Redis for several processes to share."""

from urllib.parse import urlsplit

from envoy_ratelimit.core.store import BucketStore
from envoy_ratelimit.stores.memory import MemoryStore

DEFAULT_TIMEOUT_S = 0.010
"""Half of the 20 ms that Envoy waits for an answer."""
_REDIS_SCHEMES = ("redis", "rediss", "unix")
_SUPPORTED = "memory:, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH/TO/SOCKET"


def open_store(url: str, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> BucketStore:
    """Return the store that *url* names; it connects on first use, so the server need not be there yet.

    *timeout_s* bounds each wait for Redis (to connect, to answer). Raises ValueError, which never repeats a password,
    for a URL that is none of those supported now.
    """
    if url == "memory:":
        return MemoryStore()
    scheme, colon, _ = url.partition(":")
    if not colon or scheme not in _REDIS_SCHEMES:
        raise ValueError(f"the store {masked_url(url)!r} is not supported: write {_SUPPORTED}")
    try:
        # Not at the top: redis-py is a dependency of this extra that the memory store does without.
        from envoy_ratelimit.stores.redis import RedisStore  # noqa: PLC0415
    except ImportError:
        raise ValueError(f"{scheme}:// needs redis-py: pip install 'envoy-sidecars[ratelimit]'") from None
    try:
        return RedisStore(url, timeout_s=timeout_s)
    except ValueError as error:
        raise ValueError(f"the store {masked_url(url)!r} cannot be read: {error}") from None


def masked_url(url: str) -> str:
    """Return a store's URL as it may be shown: without user and password."""
    try:
        authority = urlsplit(url).netloc
    except ValueError:
        return url.partition(":")[0] + ":"
    user, at, _ = authority.rpartition("@")
    return url.replace(user + at, "***@", 1) if at else url
