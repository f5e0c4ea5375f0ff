"""One proxy's ECDS stream: versions, nonces, acknowledgements and heartbeats; sans-IO.

State of the world over gRPC (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol). Imports
`envoy-data-plane`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from math import ceil, inf

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.envoy.service.discovery.v3 import DiscoveryRequest, DiscoveryResponse, Resource
from envoy_data_plane.google.protobuf import Any

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import DEFAULT_DRIVER, Proxy
from envoy_tap.core.session import Session
from envoy_tap.slot.introduction import introduced

TYPE_URL = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
ResourceBuilder = Callable[[str, Sequence[Session], Proxy], TypedExtensionConfig]
"""Builds what the slot of the given name holds, for sessions (none: nothing is tapped) on a proxy.

Raises SlotError where it can't; with no sessions it always can.
"""

_MAX_NACK_CHARS = 2000

# A proxy asks for one name a slot; each is a script to be rendered.
_MAX_NAMES = 64


class SlotError(Exception):
    """Why a proxy's slot cannot hold what was asked for; the message is for the operator."""


class Reply(Enum):
    """What a request said about the response before it."""

    NONE = "none"
    ACK = "ack"
    NACK = "nack"


@dataclass(frozen=True, slots=True)
class NodeSlot:
    """What is known of one proxy's slot; versions are "" before the first.

    `tap_ids` are of the sessions that were sent last, none for the no-op. `nack` is Envoy's own text on why it refused
    `sent_version`, "" if it did not; it then keeps `acked_version` until that one's time to live is over. `settled`:
    the proxy has answered, one way or the other, what was sent last. `problem`: why it was not sent what sessions want,
    "" if it was.
    """

    node: Node
    driver: str = DEFAULT_DRIVER
    tap_ids: tuple[str, ...] = ()
    sent_version: str = ""
    acked_version: str = ""
    nack: str = ""
    settled: bool = False
    problem: str = ""


class Subscription:
    """One ECDS stream's state: requests in by `receive`, the response that is due out of `due`.

    Sessions are sent with a time to live of *ttl_s* seconds (whole ones, less when the last expires sooner) and
    again every third of it, so that a proxy that loses us reverts to the slot's default on its own. It is sent in
    full each time: a proxy whose time to live had lapsed has forgotten it, and one that has not sees no change.
    What a proxy refused is not sent again. Of the names that it asks for the first 64 are served.
    """

    def __init__(self, build: ResourceBuilder, ttl_s: int) -> None:
        self._build = build
        self._ttl_s = ttl_s
        self.proxy = Proxy(Node("", ""))
        self._names: tuple[str, ...] = ()
        self._answered_names: tuple[str, ...] | None = None
        self._answered: tuple[Session, ...] = ()
        self._made: list[tuple[str, Any]] = []
        self._nonce = 0
        self._sent_at_s = -inf
        self.slot = NodeSlot(self.proxy.node)

    def receive(self, request: DiscoveryRequest) -> Reply:
        """Take *request* in and say whether it acknowledges or refuses the last response."""
        if request.node is not None and request.node.id:
            # Envoy names itself in the first request of a stream only.
            self.proxy = introduced(request.node)
            self.slot = replace(self.slot, node=self.proxy.node, driver=self.proxy.driver)
        if request.response_nonce and request.response_nonce != str(self._nonce):
            return Reply.NONE
        self._names = tuple(dict.fromkeys(request.resource_names))[:_MAX_NAMES]
        if not request.response_nonce:
            return Reply.NONE
        if request.error_detail is not None:
            text = request.error_detail.message[:_MAX_NACK_CHARS] or "refused without a text"
            self.slot = replace(self.slot, nack=text, settled=True)
            return Reply.NACK
        self.slot = replace(self.slot, acked_version=self.slot.sent_version, nack="", settled=True)
        return Reply.ACK

    @property
    def asks(self) -> bool:
        """Whether the proxy has a slot: it has asked for at least one name."""
        return bool(self._names)

    def has_settled(self, sessions: tuple[Session, ...]) -> bool:
        """Whether the proxy has answered exactly what *sessions* mean for it."""
        return self.slot.settled and not self._is_news(sessions)

    def due(self, sessions: tuple[Session, ...], now_s: float) -> DiscoveryResponse | None:
        """Return the response to send now (unix seconds), or None; *sessions* are those for this proxy."""
        if not self._names:
            return None
        if self._is_news(sessions):
            self._answered_names, self._answered = self._names, sessions
            self.slot = replace(
                self.slot, tap_ids=tuple(session.id for session in sessions), nack="", settled=False
            )
            self._make(sessions)
        elif not self._heartbeat_is_due(now_s):
            return None
        self._sent_at_s = now_s
        self._nonce += 1
        return self._response(sessions, now_s)

    def renew(self) -> None:
        """Make `due` build what the proxy holds once more: something else than its sessions has changed."""
        self._answered_names = None

    def wake_in_s(self, sessions: tuple[Session, ...], now_s: float) -> float | None:
        """Return in how many seconds `due` should be asked again if nothing happens; None for never."""
        if not sessions or not self._names:
            return None
        wait_s = max(0.0, min(session.expires_at_s for session in sessions) - now_s)
        return wait_s if self.slot.nack else min(wait_s, max(0.0, self._sent_at_s + self._ttl_s / 3 - now_s))

    def _is_news(self, sessions: tuple[Session, ...]) -> bool:
        return self._names != self._answered_names or sessions != self._answered

    def _heartbeat_is_due(self, now_s: float) -> bool:
        if not self._answered or self.slot.nack:
            return False
        # A clock that was set back must not silence the heartbeat.
        return not 0 <= now_s - self._sent_at_s < self._ttl_s / 3

    def _response(self, sessions: tuple[Session, ...], now_s: float) -> DiscoveryResponse:
        ttl = None
        if sessions:
            last_s = max(session.expires_at_s for session in sessions)
            ttl = timedelta(seconds=max(1, min(self._ttl_s, ceil(last_s - now_s))))
        version = self.slot.sent_version
        return DiscoveryResponse(
            version_info=version,
            resources=[
                Any.pack(Resource(name=name, version=version, resource=packed, ttl=ttl))
                for name, packed in self._made
            ],
            type_url=TYPE_URL,
            nonce=str(self._nonce),
        )

    def _make(self, sessions: tuple[Session, ...]) -> None:
        """Make what the proxy holds from now on; heartbeats send it again as it is."""
        try:
            extensions, problem = self._built(sessions), ""
        except SlotError as error:
            # It gets what it would get without sessions; `nodes` and the session's page say why.
            extensions, problem = self._built(()), str(error)
        self._made = [(extension.name, Any.pack(extension)) for extension in extensions]
        self.slot = replace(self.slot, sent_version=_version(extensions), problem=problem)

    def _built(self, sessions: tuple[Session, ...]) -> list[TypedExtensionConfig]:
        return [self._build(name, sessions, self.proxy) for name in self._names]


def _version(extensions: list[TypedExtensionConfig]) -> str:
    digest = hashlib.sha256()
    for extension in extensions:
        digest.update(bytes(extension))
    return digest.hexdigest()[:16]
