"""The shared store: Redis or Valkey, in which replicas find each other's sessions and exchanges; content is encrypted.

A session is three keys with one hash tag: `envoy-tap:{id}` (wrapped data key, document, state, counters of each replica),
`…:summaries` (a stream) and `…:payloads` (a hash). They are bounded by the session's limits and expire. What a replica
does is published, so that the others look at once; should a message be lost, they look every few seconds.
"""

import json
import logging
import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from errno import EIO
from importlib.resources import files
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import as_object, summary
from envoy_tap.core.session import ORDER
from envoy_tap.storage.keys import Keys, Sealer
from envoy_tap.storage.messages import CHANNEL, Messages
from envoy_tap.storage.nodes import SharedNodes
from envoy_tap.storage.port import MAX_SEQ, Change, Span, up_to_bytes
from envoy_tap.storage.snapshot import Snapshot

_PREFIX = "envoy-tap:"
_SESSIONS = f"{_PREFIX}sessions"
_KEY_CHECK = f"{_PREFIX}key"
_TIMEOUT_S = 2.0
_UID_BYTES = 8
_FEW = 4
_COUNTS = "counts:"
LOG = logging.getLogger(__name__)


class RedisStore:
    """Keeps everything at *url*; sessions until *keep_s* seconds after their end.

    Raises OSError if it can't be reached, or if others wrote there with another key file.
    """

    def __init__(self, url: str, keys: Keys, keep_s: float) -> None:
        self._keys = keys
        self._keep_s = keep_s
        self._sealers: dict[str, Sealer] = {}
        try:
            self._db: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 1),
            )
        except ValueError as error:
            raise OSError(f"--store: {error}") from None
        self._messages = Messages(self._db)
        self._nodes = SharedNodes(self._db, keys, self._messages.replica)
        self._counts = f"{_COUNTS}{self._messages.replica}"
        with _told():
            folder = files("envoy_tap.storage")
            self._append = self._db.register_script((folder / "append.lua").read_text("utf-8"))
            self._save = self._db.register_script((folder / "save.lua").read_text("utf-8"))
            checks = [key[:_UID_BYTES] for key in keys.all_derived("check")]
            self._db.setnx(_KEY_CHECK, checks[0])
            if self._db.get(_KEY_CHECK) not in checks:
                raise OSError("the replicas there have another key file; give all of them the same")

    @property
    def is_shared(self) -> bool:
        """True."""
        return True

    def share_nodes(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Tell the other replicas, for some seconds, which proxies are connected here."""
        with _told():
            self._nodes.share(nodes)

    def nodes_elsewhere(self) -> Sequence[dict[str, Any]]:
        """Return the proxies that are connected to other replicas."""
        with _told():
            return self._nodes.elsewhere()

    def listen(self, changed: Callable[[Change, str], None]) -> None:
        """Have *changed* called with what another replica did, in a thread of its own."""
        self._messages.listen(changed)

    def load(self) -> Iterator[Snapshot]:
        """Yield the sessions, oldest first; what cannot be read is logged, and left as it is."""
        found = []
        for session_id in self._ids():
            try:
                found.append(self.get(session_id))
            except KeyError:
                continue
            except (OSError, ValueError, TypeError, AttributeError) as error:
                LOG.error("session %s cannot be read and is not served: %s: %s", session_id, type(error).__name__, error)  # fmt: skip
        yield from sorted(found, key=lambda snapshot: snapshot.session.created_at_s)

    def get(self, session_id: str) -> Snapshot:
        """Return a session, with the counters of all other replicas."""
        with _told():
            held: dict[bytes, bytes] = self._db.hgetall(_key(session_id))
        if b"document" not in held:
            self._sealers.pop(session_id, None)
            raise KeyError(session_id)
        sealer = self._sealers.get(session_id) or self._opened(session_id, held[b"key"])
        snapshot = Snapshot.decoded(sealer.open(held[b"document"], f"{session_id}/session"))
        own, elsewhere = self._counts.encode(), Counter[str]()
        for name, value in held.items():
            if name.startswith(_COUNTS.encode()) and name != own:
                elsewhere.update({each: int(count) for each, count in json.loads(value).items()})
        return Snapshot(
            snapshot.session,
            snapshot.state,
            snapshot.ended_at_s,
            snapshot.ended_by,
            {},
            snapshot.approved_by,
            dict(elsewhere),
        )

    def create(self, snapshot: Snapshot) -> None:
        """Keep a new session."""
        session_id = snapshot.session.id
        sealer, wrapped = self._keys.new_data_key(session_id)
        document = sealer.seal(snapshot.encoded(), f"{session_id}/session")
        until_s = self._kept_until_s(snapshot)
        with _told(), self._db.pipeline(transaction=True) as pipe:
            fields = {
                "key": wrapped,
                "document": document,
                "rank": ORDER[snapshot.state],
                "kept_until": until_s,
            }
            pipe.hset(_key(session_id), mapping=fields)
            pipe.expireat(_key(session_id), until_s)
            pipe.sadd(_SESSIONS, session_id)
            pipe.publish(CHANNEL, self._messages.of(Change.SESSION, session_id))
            pipe.execute()
        self._sealers[session_id] = sealer

    def save(self, snapshot: Snapshot) -> None:
        """Keep what has become of a session."""
        session_id = snapshot.session.id
        document = self._sealer(session_id).seal(snapshot.encoded(), f"{session_id}/session")
        arguments: list[Any] = [
            ORDER[snapshot.state],
            document,
            self._kept_until_s(snapshot),
            self._counts,
            json.dumps(dict(snapshot.counts)),
        ]
        with _told():
            found = self._save(_names(session_id), arguments)
            if found == 1:
                self._db.publish(CHANNEL, self._messages.of(Change.SESSION, session_id))
        if found == -1:
            raise KeyError(session_id)

    def append(self, session_id: str, exchanges: Sequence[Exchange]) -> Sequence[int | None]:
        """Keep *exchanges* and return the number of each; None for one beyond the session's limits."""
        limits = self.get(session_id).session.limits
        sealer = self._sealer(session_id)
        arguments: list[Any] = [limits.exchanges, limits.bytes]
        for exchange in exchanges:
            uid = secrets.token_bytes(_UID_BYTES)
            # Its number is not known yet; who reads it puts it in.
            texts = {"summary": summary(exchange, 0), "payload": as_object(exchange)}
            sealed = [
                sealer.seal(json.dumps(data, separators=(",", ":")).encode(), _place(session_id, uid, name))
                for name, data in texts.items()
            ]
            arguments += [exchange.content_bytes, uid, *sealed]
        with _told():
            numbers = self._append(_names(session_id), arguments)
            if numbers is not None:
                self._db.publish(CHANNEL, self._messages.of(Change.EXCHANGES, session_id))
        if numbers is None:
            raise KeyError(session_id)
        return [int(seq) or None for seq in numbers]

    def summaries(self, session_id: str, span: Span) -> Sequence[Mapping[str, Any]]:
        """Return the summaries in *span*."""
        first, last = f"{span.after + 1}-0", f"{min(span.before, MAX_SEQ) - 1}-0"
        _, stream, _ = _names(session_id)
        with _told():
            found = (
                self._db.xrevrange(stream, last, first, count=span.limit)
                if span.newest
                else self._db.xrange(stream, first, last, count=span.limit)
            )
        if not found:
            return []
        sealer = self._sealer(session_id)
        shown = [
            {
                **json.loads(sealer.open(entry[b"s"], _place(session_id, entry[b"u"], "summary"))),
                "seq": int(number.partition(b"-")[0]),
            }
            for number, entry in found
        ]
        return shown[::-1] if span.newest else shown

    def exchanges(self, session_id: str, span: Span) -> Sequence[tuple[int, Mapping[str, Any]]]:
        """Return numbers and exchanges in *span*."""
        try:
            end = min(span.before, self.last_seq(session_id) + 1)
            sealer = self._sealer(session_id)
        except KeyError:
            return []
        numbers = range(span.after + 1, end)
        wanted = numbers[-span.limit :][::-1] if span.newest else numbers[: span.limit]
        found = []
        for seq, held in up_to_bytes(self._payloads(session_id, wanted)):
            uid, sealed = held[:_UID_BYTES], held[_UID_BYTES:]
            found.append((seq, json.loads(sealer.open(sealed, _place(session_id, uid, "payload")))))
        return found[::-1] if span.newest else found

    def last_seq(self, session_id: str) -> int:
        """Return the number of the newest exchange, 0 without one."""
        with _told():
            key, captured = self._db.hmget(_key(session_id), "key", "captured")
        if key is None:
            raise KeyError(session_id)
        return int(captured or 0)

    def sizes(self) -> Mapping[str, int]:
        """Return how many bytes each session takes; those that have expired are forgotten."""
        ids = self._ids()
        with _told(), self._db.pipeline(transaction=False) as pipe:
            for session_id in ids:
                pipe.hmget(_key(session_id), "key", "stored")
            held = pipe.execute()
            gone = [session_id for session_id, (key, _) in zip(ids, held, strict=True) if key is None]
            if gone:
                self._db.srem(_SESSIONS, *gone)
        # What another replica deleted, or what has expired, nobody reads any more: its key goes here, too.
        for session_id in {*self._sealers}.difference(ids).union(gone):
            self._sealers.pop(session_id, None)
        return {
            session_id: int(stored or 0)
            for session_id, (key, stored) in zip(ids, held, strict=True)
            if key is not None
        }

    def delete(self, session_id: str) -> None:
        """Destroy a session's key, and remove it and all that was captured for it."""
        self._sealers.pop(session_id, None)
        with _told(), self._db.pipeline(transaction=True) as pipe:
            pipe.delete(*_names(session_id))
            pipe.srem(_SESSIONS, session_id)
            pipe.publish(CHANNEL, self._messages.of(Change.SESSION, session_id))
            pipe.execute()

    def close(self) -> None:
        """Close the connections; idempotent."""
        self._messages.close()
        self._db.close()

    def _ids(self) -> list[str]:
        with _told():
            return sorted(each.decode() for each in self._db.smembers(_SESSIONS))

    def _payloads(self, session_id: str, numbers: range) -> Iterator[tuple[int, bytes]]:
        # A few at a time: each may be large.
        _, _, name = _names(session_id)
        for at in range(0, len(numbers), _FEW):
            few = numbers[at : at + _FEW]
            with _told():
                held = self._db.hmget(name, [str(seq) for seq in few])
            yield from ((seq, each) for seq, each in zip(few, held, strict=True) if each is not None)

    def _sealer(self, session_id: str) -> Sealer:
        found = self._sealers.get(session_id)
        if found is not None:
            return found
        with _told():
            wrapped = self._db.hget(_key(session_id), "key")
        if wrapped is None:
            raise KeyError(session_id)
        return self._opened(session_id, wrapped)

    def _opened(self, session_id: str, wrapped: bytes) -> Sealer:
        self._sealers[session_id] = sealer = self._keys.data_key(session_id, wrapped)
        return sealer

    def _kept_until_s(self, snapshot: Snapshot) -> int:
        return math.ceil((snapshot.ended_at_s or snapshot.session.expires_at_s) + self._keep_s)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        # Not its whole text: it may hold the address with its password.
        raise OSError(EIO, f"redis: {type(error).__name__}") from error


def _key(session_id: str) -> str:
    return f"{_PREFIX}{{{session_id}}}"


def _names(session_id: str) -> tuple[str, str, str]:
    return _key(session_id), f"{_key(session_id)}:summaries", f"{_key(session_id)}:payloads"


def _place(session_id: str, uid: bytes, name: str) -> str:
    return f"{session_id}/{uid.hex()}/{name}"
