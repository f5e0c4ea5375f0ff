"""The driver `ext_proc`: Envoy's external processing filter in observability mode; `processor` takes in what it sends.

It tells more than Lua does (cluster, upstream host, response flags), and sends what it captures unredacted and whole up to
the cap, for the collector to redact. It is not free: a collector that reads slowly holds up large bodies.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any as Json
from typing import Self

from envoy_data_plane.envoy.config.core.v3 import (
    GrpcService,
    GrpcServiceEnvoyGrpc,
    HeaderValue,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.extensions.filters.http.ext_proc.v3 import (
    ExternalProcessor,
    ProcessingMode,
    ProcessingModeBodySendMode,
    ProcessingModeHeaderSendMode,
)
from envoy_data_plane.google.protobuf import Any

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import Proxy
from envoy_tap.core.predicate.headers import superset
from envoy_tap.core.session import Session
from envoy_tap.drivers.port import Can
from envoy_tap.slot.matcher import guarded
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup

METADATA = "x-envoy-tap"
_MAX_CHARS = 64 << 10
_REQUEST_ATTRIBUTES = (
    "source.address",
    "destination.address",
    "request.protocol",
    "connection.requested_server_name",
    "connection.tls_version",
    "connection.uri_san_peer_certificate",
    "connection.dns_san_peer_certificate",
    "connection.subject_peer_certificate",
)
_RESPONSE_ATTRIBUTES = ("xds.route_name", "xds.cluster_name", "upstream.address", "response.flags")


@dataclass(frozen=True, slots=True)
class Introduction:
    """What a call says of itself, in its metadata: the proxy, and the sessions that the filter was made for."""

    node: Node
    tap_ids: tuple[str, ...]

    def written(self) -> str:
        """Return it as a header's value."""
        data = [self.node.id, self.node.cluster, list(self.tap_ids)]
        return base64.urlsafe_b64encode(json.dumps(data).encode()).decode()

    @classmethod
    def read(cls, value: str | bytes) -> Self | None:
        """Return what `written` wrote; None for anything else."""
        if len(value) > _MAX_CHARS:
            return None
        try:
            data: Json = json.loads(base64.urlsafe_b64decode(value))
            node_id, cluster, tap_ids = data
        except (ValueError, TypeError):
            return None
        texts = [node_id, cluster, *tap_ids] if isinstance(tap_ids, list) else [None]
        are_texts = all(isinstance(text, str) and _is_text(text) for text in texts)
        return cls(Node(node_id, cluster), tuple(tap_ids)) if are_texts else None


def _is_text(text: str) -> bool:
    # Half a character (a lone surrogate) is none, and can't be written.
    return not any("\ud800" <= char <= "\udfff" for char in text)


class ExtProcDriver:
    """Puts the filter into the slot, behind the same xDS matcher as the script."""

    name = "ext_proc"
    can = frozenset(Can) - {Can.CUT_IN_PROXY, Can.REDACTED_BEFORE}

    def resource(
        self, name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup
    ) -> TypedExtensionConfig:
        """Return the filter for *sessions*."""
        if not sessions:
            return slot_resource(name, sessions, proxy, setup)
        tests = superset(*(session.predicate for session in sessions))
        filter_ = guarded(tests, name, ext_proc_filter(sessions, proxy.node, setup.cluster_name))
        return TypedExtensionConfig(name=name, typed_config=Any.pack(filter_))


def ext_proc_filter(sessions: Sequence[Session], node: Node, cluster_name: str) -> ExternalProcessor:
    """Return the filter that sends what passes it to the cluster *cluster_name*, and never waits for an answer."""
    wants_bodies = any(session.limits.body_bytes for session in sessions)
    # Of all modes only this one delivers bodies here.
    bodies = ProcessingModeBodySendMode.STREAMED if wants_bodies else ProcessingModeBodySendMode.NONE
    sends = ProcessingModeHeaderSendMode.SEND
    told = Introduction(node, tuple(sorted(session.id for session in sessions))).written()
    return ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=cluster_name),
            initial_metadata=[HeaderValue(key=METADATA, value=told)],
        ),
        # Anything else makes requests fail when the collector is not there.
        failure_mode_allow=True,
        observability_mode=True,
        deferred_close_timeout=timedelta(seconds=1),
        processing_mode=ProcessingMode(
            request_header_mode=sends,
            response_header_mode=sends,
            request_body_mode=bodies,
            response_body_mode=bodies,
            request_trailer_mode=sends,
            response_trailer_mode=sends,
        ),
        request_attributes=list(_REQUEST_ATTRIBUTES),
        response_attributes=list(_RESPONSE_ATTRIBUTES),
    )
