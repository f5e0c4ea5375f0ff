"""The tap slot's desired content: the sessions that capture, each on the proxies that it targets."""

import time
from collections.abc import Callable, Iterable

from envoy_tap.core.node import Proxy
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Session
from envoy_tap.slot.broadcast import Broadcast

_DEFAULT_POLICY = Policy()
SOCKET_DRIVER = "admin"
"""The one driver that connections come out by."""


class Slot:
    """Holds the sessions for which proxies should capture; those that have expired are left out.

    Used on one event loop. *clock* gives unix seconds. `changed` fires when sessions are set; nothing fires when one
    expires, so who serves them wakes at `Session.expires_at_s`. Nothing is captured where `policy` forbids it; who replaces
    that has the proxies told by `EcdsServer.renew`.
    """

    def __init__(self, clock: Callable[[], float] = time.time, policy: Policy = _DEFAULT_POLICY) -> None:
        self.changed = Broadcast()
        self._clock = clock
        self.policy = policy
        self._sessions: tuple[Session, ...] = ()

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that have not expired."""
        now_s = self._clock()
        return tuple(session for session in self._sessions if now_s < session.expires_at_s)

    def sessions_for(self, proxy: Proxy) -> tuple[Session, ...]:
        """Return the sessions that capture on *proxy*."""
        if not self.policy.allows_node(proxy.node):
            return ()
        takes_sockets = proxy.driver == SOCKET_DRIVER and self.policy.allows_sockets
        return tuple(
            session
            for session in self.sessions
            if session.nodes.selects(proxy) and (takes_sockets or not session.socket)
        )

    def set(self, *sessions: Session) -> None:
        """Make *sessions* the active ones, in place of all others."""
        self.replace(sessions)

    def replace(self, sessions: Iterable[Session]) -> None:
        """Make *sessions* the active ones, in place of all others."""
        self._sessions = tuple(sorted(sessions, key=lambda session: session.id))
        self.changed.fire()

    def clear(self) -> None:
        """End all sessions."""
        self.replace(())
