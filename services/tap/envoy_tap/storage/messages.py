"""What replicas tell each other over Redis: that one of them did something to a session."""

import logging
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

import redis

from envoy_tap.storage.port import Change

CHANNEL = "envoy-tap:changed"
_POLL_S = 0.25
_AGAIN_S = 1.0
_END_S = 5.0
LOG = logging.getLogger(__name__)


class Messages:
    """The messages of this replica, whose name is new with each process, and of the others; *db* is the client."""

    def __init__(self, db: Any) -> None:
        self.replica = secrets.token_hex(8)
        self._db = db
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def of(self, change: Change, session_id: str) -> str:
        """Return the message that this replica did something, to be published on `CHANNEL`."""
        return f"{self.replica} {change.value} {session_id}"

    def listen(self, changed: Callable[[Change, str], None]) -> None:
        """Have *changed* called with what another replica did, in a thread of its own, until `close`."""
        self._thread = threading.Thread(target=self._listen, args=(changed,), name="tap-redis", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End listening, before the client is closed; idempotent."""
        self._closed.set()
        if self._thread is not None:
            self._thread.join(_END_S)

    def _listen(self, changed: Callable[[Change, str], None]) -> None:
        while not self._closed.is_set():
            try:
                with self._db.pubsub(ignore_subscribe_messages=True) as pubsub:
                    pubsub.subscribe(CHANNEL)
                    while not self._closed.is_set():
                        self._hear(pubsub.get_message(timeout=_POLL_S), changed)
            except (redis.RedisError, ValueError, OSError) as error:
                if not self._closed.wait(_AGAIN_S):
                    LOG.warning("the messages of other replicas are not heard: %s", type(error).__name__)

    def _hear(self, message: Mapping[str, Any] | None, changed: Callable[[Change, str], None]) -> None:
        if message is None:
            return
        replica, change, session_id = bytes(message["data"]).decode().split(" ")
        if replica != self.replica:
            changed(Change(change), session_id)
