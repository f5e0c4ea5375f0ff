"""The driver `native`: Envoy's own tap filter with the sink `streaming_grpc`, for a build that has it.

No stock build does: there it aborts the process. So only a node that declares `envoy_tap.native_sink: true` gets it.
"""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.common.matcher.v3 import MatchPredicate
from envoy_data_plane.envoy.config.core.v3 import GrpcService, GrpcServiceEnvoyGrpc, TypedExtensionConfig
from envoy_data_plane.envoy.config.tap.v3 import OutputConfig, OutputSink, StreamingGrpcSink, TapConfig
from envoy_data_plane.envoy.extensions.common.tap.v3 import CommonExtensionConfig
from envoy_data_plane.envoy.extensions.filters.http.tap.v3 import Tap
from envoy_data_plane.google.protobuf import Any

from envoy_tap.core.node import Proxy
from envoy_tap.core.predicate.headers import superset
from envoy_tap.core.session import Session
from envoy_tap.drivers.port import Can, DriverError
from envoy_tap.slot.matcher import guarded
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup


def has_native_sink(proxy: Proxy) -> bool:
    """Whether *proxy* declares that it has the sink."""
    return proxy.label("native_sink") == "true"


class NativeDriver:
    """Puts the filter into the slot. It has room for one session: the filter sends one tap id."""

    name = "native"
    can = frozenset({Can.BOTH_HALVES, Can.BINARY, Can.CUT_BODY, Can.TRAILERS, Can.LARGE_BODY})

    def resource(
        self, name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup
    ) -> TypedExtensionConfig:
        """Return the filter for the one session; raises DriverError for a node without the sink, or for more."""
        if not sessions:
            return slot_resource(name, sessions, proxy, setup)
        if not has_native_sink(proxy):
            raise DriverError(
                "envoy_tap.driver is native, but a stock Envoy aborts on its sink; declare envoy_tap.native_sink: true "
                "if this build has it, or choose lua"
            )
        if len(sessions) > 1:
            raise DriverError(f"native has room for one session, {len(sessions)} want this node; stop some")
        (session,) = sessions
        filter_ = guarded(superset(session.predicate), name, _filter(session, setup.cluster_name))
        return TypedExtensionConfig(name=name, typed_config=Any.pack(filter_))


def _filter(session: Session, cluster_name: str) -> Tap:
    service = GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster_name))
    return Tap(
        common_config=CommonExtensionConfig(
            static_config=TapConfig(
                match=MatchPredicate(any_match=True),
                output_config=OutputConfig(
                    sinks=[
                        OutputSink(streaming_grpc=StreamingGrpcSink(tap_id=session.id, grpc_service=service))
                    ],
                    max_buffered_rx_bytes=session.limits.body_bytes,
                    max_buffered_tx_bytes=session.limits.body_bytes,
                    streaming=True,
                ),
            )
        ),
        record_headers_received_time=True,
        record_downstream_connection=True,
    )
