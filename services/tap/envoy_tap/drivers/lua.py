"""The driver `lua`, the default: a generated script behind an xDS matcher, in any stock Envoy."""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from envoy_tap.core.node import Proxy
from envoy_tap.core.session import Session
from envoy_tap.drivers.port import Can
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup


class LuaDriver:
    """Redacts, targets, cuts and counts within the proxy; nothing waits for the collector."""

    name = "lua"
    can = frozenset(Can) - {Can.UPSTREAM}

    def resource(
        self, name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup
    ) -> TypedExtensionConfig:
        """Return the script's filter for *sessions*."""
        return slot_resource(name, sessions, proxy, setup)
