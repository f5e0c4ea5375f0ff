"""The slot's resources, as Envoy configuration; imports `envoy-data-plane` (0.4 s and more).

Never a `streaming_grpc` sink: a stock Envoy aborts on it. The slot's `config_discovery` lists TYPE_URLS.
"""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.common.matcher.v3 import MatchPredicate
from envoy_data_plane.envoy.config.core.v3 import DataSource, TypedExtensionConfig
from envoy_data_plane.envoy.config.tap.v3 import FilePerTapSink, OutputConfig, OutputSink, TapConfig
from envoy_data_plane.envoy.extensions.common.tap.v3 import CommonExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.tap.v3 import Tap
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


def noop_filter() -> Tap:
    """Return the idle slot's filter: a tap that matches nothing."""
    return Tap(
        common_config=CommonExtensionConfig(
            static_config=TapConfig(
                match=MatchPredicate(not_match=MatchPredicate(any_match=True)),
                # A tap filter needs one sink; this one is never written to.
                output_config=OutputConfig(
                    sinks=[OutputSink(file_per_tap=FilePerTapSink(path_prefix="/dev/null"))]
                ),
            )
        )
    )


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
