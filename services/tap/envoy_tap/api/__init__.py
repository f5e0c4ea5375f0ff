"""The session API over the admin HTTP: JSON, and server-sent events for who watches. See docs/tap.md."""

from envoy_tap.api.admission import Access
from envoy_tap.api.routes import PREFIX, Services, routes

__all__ = ["PREFIX", "Access", "Services", "routes"]
