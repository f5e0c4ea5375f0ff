"""Global rate limits for Envoy and for Python programs: buckets in memory or in Redis."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from envoy_ratelimit.library import Decision, LimitState, RateLimiter

__all__ = ["Decision", "LimitState", "RateLimiter"]


def __getattr__(name: str) -> object:
    """Import the library when it is first asked for: the service and the pure core do without it."""
    if name in __all__:
        from envoy_ratelimit import library  # noqa: PLC0415

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
