"""The slot's resources, as Envoy configuration; imports `envoy-data-plane` (0.4 s and more).

The slot's `config_discovery` lists TYPE_URLS.
"""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.google.protobuf import Any

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Proxy
from envoy_tap.core.predicate.headers import superset
from envoy_tap.core.session import Session
from envoy_tap.slot.matcher import guarded
from envoy_tap.slot.script import Setup, render

_DEFAULT = Setup()
TYPE_URLS = (
    "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap",
    "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
    "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher",
    "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
)


def noop_filter() -> Lua:
    """Return the idle slot's filter: a Lua filter without a script.

    A tap that matches nothing would look at each request, and costs more.
    """
    return Lua()


def lua_filter(sessions: Sequence[Session], node: Node, setup: Setup) -> Lua:
    """Return the filter that captures for *sessions* on *node*."""
    return Lua(default_source_code=DataSource(inline_string=render(sessions, node, setup)))


def slot_resource(
    name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup = _DEFAULT
) -> TypedExtensionConfig:
    """Return what the slot *name* holds on *proxy*: the script for *sessions*, or the no-op if there are none.

    In front of the filter stands what the predicates say about request headers, so that Envoy itself skips it for all
    that no session can want.
    """
    if not sessions:
        return TypedExtensionConfig(name=name, typed_config=Any.pack(noop_filter()))
    tests = superset(*(session.predicate for session in sessions))
    return TypedExtensionConfig(
        name=name, typed_config=Any.pack(guarded(tests, name, lua_filter(sessions, proxy.node, setup)))
    )
