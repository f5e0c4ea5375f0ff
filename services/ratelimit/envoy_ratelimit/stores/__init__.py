"""Where buckets live, behind one port: in this process, or in Redis for several processes to share."""

from envoy_ratelimit.core.store import BucketStore
from envoy_ratelimit.stores.address import StoreAddress, masked_url, parse_address
from envoy_ratelimit.stores.denials import DenialCache, RemoteStore
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.names import Spread

__all__ = ["DEFAULT_DENIALS_S", "DEFAULT_TIMEOUT_S", "DenialCache", "RemoteStore", "masked_url", "open_store"]

DEFAULT_TIMEOUT_S = 0.010
"""Half of the 20 ms that Envoy waits for an answer."""
DEFAULT_DENIALS_S = 1.0
_MEMORY = "memory:"


def open_store(
    url: str,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    per_second: str = "",
    key_prefix: str = "",
    spread: Spread = "domain",
    denials_s: float = DEFAULT_DENIALS_S,
) -> BucketStore:
    """Return the store that *url* names; it connects when started or first used, so the server need not be there yet.

    *timeout_s* bounds all that a batch waits for. *per_second* is the URL of a second store, for buckets that are as
    new again within a second. *key_prefix* and *spread* name the buckets (see `names`). For *denials_s* a refusal is
    remembered, 0 for never. Raises ValueError, which repeats no password, for a URL that cannot be read.
    """
    if url == _MEMORY:
        if per_second:
            raise ValueError("a second store for per-second limits goes with Redis, not with memory:")
        return MemoryStore()
    addresses = [_address(url), *([_address(per_second)] if per_second else [])]
    try:
        # Not at the top: redis-py is a dependency of this extra that the memory store does without.
        from envoy_ratelimit.stores.redis import RedisStore  # noqa: PLC0415
        from envoy_ratelimit.stores.sites import open_site  # noqa: PLC0415
    except ImportError:
        raise ValueError(
            "Redis needs redis-py with hiredis: pip install 'envoy-sidecars[ratelimit]'"
        ) from None
    main, *others = [
        open_site(address, prefix=key_prefix, spread=spread, timeout_s=timeout_s) for address in addresses
    ]
    store = RedisStore(main, timeout_s=timeout_s, per_second=others[0] if others else None)
    return DenialCache(store, max_age_us=round(denials_s * 1_000_000)) if denials_s > 0 else store


def _address(url: str) -> StoreAddress:
    try:
        return parse_address(url)
    except ValueError as error:
        raise ValueError(f"the store {masked_url(url)!r} cannot be read: {error}") from None
