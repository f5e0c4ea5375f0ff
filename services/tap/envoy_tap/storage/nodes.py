"""Which proxies are connected to which replica, as replicas tell each other over Redis."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from envoy_tap.storage.keys import Keys, Sealer

_REPLICAS = "envoy-tap:replicas"
_NODES = "envoy-tap:nodes:"
_KEPT_S = 10


class SharedNodes:
    """The proxies of *replica* and of the others; *db* is the client, whose errors come as they are."""

    def __init__(self, db: Any, keys: Keys, replica: str) -> None:
        self._db = db
        self._sealer = Sealer(keys.derived("nodes"))
        self._replica = replica

    def share(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        """Tell the others, for 10 seconds, which proxies are connected here."""
        sealed = self._sealer.seal(json.dumps(list(nodes)).encode(), self._replica)
        with self._db.pipeline(transaction=True) as pipe:
            pipe.sadd(_REPLICAS, self._replica)
            pipe.set(f"{_NODES}{self._replica}", sealed, ex=_KEPT_S)
            pipe.execute()

    def elsewhere(self) -> list[dict[str, Any]]:
        """Return the proxies of the others; replicas that are gone are forgotten. Raises SealError."""
        replicas = sorted({each.decode() for each in self._db.smembers(_REPLICAS)} - {self._replica})
        held = self._db.mget([f"{_NODES}{replica}" for replica in replicas]) if replicas else []
        told = dict(zip(replicas, held, strict=True))
        gone = [replica for replica, sealed in told.items() if sealed is None]
        if gone:
            self._db.srem(_REPLICAS, *gone)
        return [
            node
            for replica, sealed in told.items()
            if sealed is not None
            for node in json.loads(self._sealer.open(sealed, replica))
        ]
