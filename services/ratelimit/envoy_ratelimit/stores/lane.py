"""The way to one server: its connection, kept behind a breaker, and the calls of the script that go over it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from envoy_ratelimit.core.store import StoreError, Take
from envoy_ratelimit.stores.breaker import Breaker
from envoy_ratelimit.stores.connection import Connection, ReplyError, packed
from envoy_ratelimit.stores.keeper import Keeper
from envoy_ratelimit.stores.packing import SCRIPT, SCRIPT_ID, pack

CONNECT_TIMEOUT_S = 1.0
"""For each step of making a connection; no request waits for that."""
_ASKING = packed(("ASKING",))
_NOT_WRITABLE = frozenset({"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH"})
"""What a server says that must be asked no more over this connection."""


@dataclass(slots=True, eq=False)
class ScriptCall:
    """One call of the script, on keys that live in one slot; then its reply, or why there is none."""

    lane: "Lane"
    takes: Sequence[Sequence[Take]]
    keys: Sequence[str]
    packed: bytes
    whole_script: bool = False
    asking: bool = False
    reply: Any = None
    error: tuple[str, str] | None = None
    """The kind and message of a StoreError. The exception itself would hold the frames that hold this call: a cycle."""

    def command(self) -> bytes:
        """Return what to send."""
        name, script = ("EVAL", SCRIPT) if self.whole_script else ("EVALSHA", SCRIPT_ID)
        command = packed((name, script, len(self.keys), *self.keys, self.packed))
        return _ASKING + command if self.asking else command


def script_call(
    lane: "Lane", takes: Sequence[Sequence[Take]], named: Callable[[str], str] | None
) -> ScriptCall:
    """Return the call that decides *takes* on *lane*, where a bucket has the name that *named* gives it."""
    keys, arguments = pack(takes)
    return ScriptCall(lane, takes, keys if named is None else [named(key) for key in keys], arguments)


class Lane:
    """One server, or whoever is the primary now: *connect* finds and opens it (see `Keeper` for when and where).

    A new connection is used once it has taken the script within *timeout_s*: a server that is slower is none.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        *,
        timeout_s: float,
        breaker: Breaker | None = None,
    ) -> None:
        self.name = name
        self._connect = connect
        self._timeout_s = timeout_s
        self._keeper = Keeper(name, self._ready, breaker)
        self._sent: Connection | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._keeper.start()

    def send(self, calls: Sequence[ScriptCall], deadline_s: float) -> None:
        """Send *calls*; those of a lane that fails have its error."""
        if self._sent is not None:
            # A fault of ours came between: what is unread must not become the answer to these.
            self._sent = None
            self._keeper.lost(StoreError("response", f"{self.name}: an answer was left unread"))
        data = b"".join([call.command() for call in calls])
        try:
            connection = self._keeper.get(deadline_s)
        except StoreError as error:
            _fail(calls, error)
            return
        try:
            connection.send(data, deadline_s)
        except StoreError as error:
            self._keeper.lost(error)
            _fail(calls, error)
        else:
            self._sent = connection

    def receive(self, calls: Sequence[ScriptCall], deadline_s: float) -> None:
        """Fill in the replies to *calls*, all that was sent last; a ReplyError among them is for the caller."""
        connection = self._sent
        if connection is None:
            return
        unusable: StoreError | None = None
        for place, call in enumerate(calls):
            try:
                if call.asking:
                    connection.receive(deadline_s)
                call.reply = reply = connection.receive(deadline_s)
            except StoreError as error:
                self._sent = None
                self._keeper.lost(error)
                _fail(calls[place:], error)
                return
            if isinstance(reply, ReplyError) and reply.code in _NOT_WRITABLE:
                unusable = StoreError("response", f"{self.name} refused: {reply}")
        self._sent = None
        if unusable is not None:
            self._keeper.lost(unusable)
        else:
            self._keeper.proven()

    def look(self) -> None:
        """Begin to connect again if the server has closed the connection since it was last used; not while it is."""
        connection = self._keeper.kept
        if connection is not None and connection.is_gone():
            self._keeper.renew(f"{connection.endpoint} closed the connection")

    def why_down(self) -> str:
        """Say why the server is not asked; empty if it is. From any thread."""
        return self._keeper.why_down()

    def close(self) -> None:
        """Close its connection."""
        self._keeper.close()

    def _ready(self) -> Connection:
        connection = self._connect()
        try:
            # This is the probe as well: two round trips in a row, the second of which is quick if the server is.
            connection.ask("SCRIPT", "LOAD", SCRIPT, timeout_s=CONNECT_TIMEOUT_S)
            connection.ask("PING", timeout_s=self._timeout_s)
        except BaseException:
            connection.close()
            raise
        return connection


def _fail(calls: Sequence[ScriptCall], error: StoreError) -> None:
    for call in calls:
        call.error = error.kind, str(error)
