"""A cluster: which node holds which slot, read again in the background when a node says or shows otherwise."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from threading import Lock, Thread
from time import monotonic
from typing import Any

from redis.crc import key_slot

from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores.address import Endpoint, StoreAddress
from envoy_ratelimit.stores.connection import Connection, ReplyError, connect
from envoy_ratelimit.stores.keeper import Keeper
from envoy_ratelimit.stores.lane import CONNECT_TIMEOUT_S, Lane
from envoy_ratelimit.stores.names import SLOTS, Spread, cluster_names

LOG = logging.getLogger(__name__)
_REREAD_S = 0.25
"""A map that is younger than this is not read again."""
_MOVED_WORDS = 3


@dataclass(frozen=True, slots=True)
class SlotMap:
    """The primary of each slot, as one node told it; None where no node serves."""

    primaries: tuple[Endpoint | None, ...]
    read_s: float

    def close(self) -> None:
        """Let go of nothing."""

    @property
    def nodes(self) -> set[Endpoint]:
        """All primaries."""
        return {node for node in self.primaries if node is not None}


class ClusterSite:
    """The nodes of a cluster, with a lane for each primary."""

    only = None

    def __init__(self, address: StoreAddress, *, prefix: str, spread: Spread, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._names = cluster_names(prefix, spread)
        self.named: Callable[[str], str] | None = self._names
        self._lanes: dict[Endpoint, Lane] = {}
        self._map: Keeper[SlotMap] = Keeper("the cluster", self._read)
        self._newest: SlotMap | None = None
        self._adopted: SlotMap | None = None
        self._reader: Thread | None = None
        self._moves: dict[int, Endpoint] = {}
        self._lock = Lock()
        self._ended = False

    def place(self, key: str, deadline_s: float) -> tuple[Lane, int]:
        """See Site."""
        slots = self._newest
        if slots is None:
            slots = self._map.get(deadline_s)
        if slots is not self._adopted:
            self._adopt(slots)
        slot = key_slot(self._names(key).encode("utf-8", "surrogatepass"))
        node = self._moves.get(slot) or slots.primaries[slot]
        if node is None:
            raise StoreError("response", f"no node of the cluster serves slot {slot}")
        return self._lane(node), slot

    def moved(self, slot: int, error: ReplyError) -> tuple[Lane, bool] | None:
        """See Site."""
        words = str(error).split()
        if words[0] not in {"MOVED", "ASK"} or len(words) < _MOVED_WORDS:
            return None
        host, _, port = words[2].rpartition(":")
        node = Endpoint(host.strip("[]") or self._some_host(), int(port))
        if words[0] == "MOVED":
            self._moves[slot] = node
            if self._reader is None or not self._reader.is_alive():
                self._reader = Thread(target=self._reread, name="store cluster slots", daemon=True)
                self._reader.start()
        return self._lane(node), words[0] == "ASK"

    def start(self) -> None:
        """See Site."""
        self._map.start()

    def look(self) -> None:
        """See Site."""
        for lane in list(self._lanes.values()):
            lane.look()

    def why_down(self) -> str:
        """See Site: of the first primary that is not asked, or of the map while there is none."""
        slots = self._newest
        if slots is None:
            return self._map.why_down()
        lanes = [self._lanes.get(node) for node in sorted(slots.nodes, key=str)]
        return next((why for lane in lanes if lane is not None and (why := lane.why_down())), "")

    def close(self) -> None:
        """See Site."""
        self._ended = True
        self._map.close()
        for lane in list(self._lanes.values()):
            lane.close()

    def _adopt(self, slots: SlotMap) -> None:
        """Let go of the lanes to nodes that are no primaries any more."""
        self._adopted = slots
        for node in set(self._lanes) - slots.nodes - set(self._moves.values()):
            self._lanes.pop(node).close()

    def _lane(self, node: Endpoint) -> Lane:
        lane = self._lanes.get(node)
        if lane is None:
            # Two threads may come here at once: one of their lanes is used, and the other never connects.
            new = Lane(str(node), lambda: self._open(node), timeout_s=self._timeout_s)
            lane = self._lanes.setdefault(node, new)
        return lane

    def _open(self, node: Endpoint) -> Connection:
        """Connect to *node*, on its lane's thread; first see whether it still is a primary."""
        try:
            slots = self._read()
        except StoreError as error:
            LOG.debug("the cluster's slots could not be read: %s", error)
        else:
            if node not in slots.nodes:
                raise StoreError("connection", f"{node} is no primary of the cluster any more")
        return self._connect(node)

    def _connect(self, node: Endpoint) -> Connection:
        address = self._address
        return connect(node, login=address.login, tls=address.tls, timeout_s=CONNECT_TIMEOUT_S)

    def _some_host(self) -> str:
        return self._address.servers[0].host

    def _reread(self) -> None:
        try:
            self._read()
        except StoreError as error:
            LOG.debug("the cluster's slots could not be read again: %s", error)

    def _read(self) -> SlotMap:
        """Read the map from the first node that has it, on a thread that may wait."""
        with self._lock:
            newest = self._newest
            if newest is not None and monotonic() - newest.read_s < _REREAD_S:
                return newest
            known = sorted(newest.nodes, key=str) if newest is not None else []
            slots = self._ask_in_turn(dict.fromkeys([*known, *self._address.servers]))
            self._newest = slots
            self._moves = {}
        # No request is to wait for the first connection to a node.
        for node in slots.nodes:
            if not self._ended:
                self._lane(node).start()
        return slots

    def _ask_in_turn(self, nodes: Iterable[Endpoint]) -> SlotMap:
        kind, whys = "connection", []
        for node in nodes:
            try:
                connection = self._connect(node)
                try:
                    answer = connection.ask("CLUSTER", "SLOTS", timeout_s=CONNECT_TIMEOUT_S)
                finally:
                    connection.close()
                return _slot_map(answer, node)
            except StoreError as error:
                kind = error.kind
                whys.append(str(error))
        raise StoreError(kind, "; ".join(whys) or "no node of the cluster is configured")


def _slot_map(answer: Sequence[Any], asked: Endpoint) -> SlotMap:
    """Read the reply to CLUSTER SLOTS: rows of (first slot, last slot, primary, replicas…)."""
    primaries: list[Endpoint | None] = [None] * SLOTS
    for first, last, primary, *_ in answer:
        host = (primary[0] or b"").decode()
        node = Endpoint(host if host not in {"", "?"} else asked.host, int(primary[1]))
        primaries[first : last + 1] = [node] * (last - first + 1)
    if not any(primaries):
        raise StoreError("response", f"{asked} serves no slot: it is not part of a cluster yet")
    return SlotMap(tuple(primaries), monotonic())
