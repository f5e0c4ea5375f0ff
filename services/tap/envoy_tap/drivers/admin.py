"""The driver `admin`: an agent beside an Envoy without xDS taps it by its admin interface (`envoy_tap.agent`).

The agent subscribes in the proxy's place, so sessions reach it as they reach proxies: with a time to live, versions, and
its own words when it can't do what it was told. What it is sent is not Envoy configuration but the sessions themselves.
"""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig
from envoy_data_plane.google.protobuf import Any, Struct

from envoy_tap.core.node import Proxy
from envoy_tap.core.session import Session
from envoy_tap.core.spec import as_object
from envoy_tap.drivers.port import Can, DriverError
from envoy_tap.slot.script import Setup


class AdminDriver:
    """Tells the agent which sessions want its proxy, and what is never to be captured."""

    name = "admin"
    can = frozenset(Can) - {Can.RESET, Can.PROTOCOL, Can.ROUTE, Can.UPSTREAM}

    def resource(
        self, name: str, sessions: Sequence[Session], _proxy: Proxy, setup: Setup
    ) -> TypedExtensionConfig:
        """Return what `agent.sessions.read` reads; raises DriverError for sessions of both kinds."""
        if len({session.socket for session in sessions}) > 1:
            ids = ", ".join(session.id for session in sessions if session.socket)
            raise DriverError(
                "Envoy gives /tap to one client at a time: its connections or its HTTP exchanges, not both; "
                f"stop the sessions of connections ({ids}), or all others"
            )
        data = {
            "sessions": [as_object(session) for session in sorted(sessions, key=lambda each: each.id)],
            "never_paths": list(setup.policy.never_paths),
            "never_headers": sorted(setup.policy.never_headers),
        }
        return TypedExtensionConfig(name=name, typed_config=Any.pack(Struct.from_dict(data)))
