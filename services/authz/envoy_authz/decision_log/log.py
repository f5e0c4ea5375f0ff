"""Records queued by the thread that decides and written by one of its own."""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from random import random

from envoy_authz.core.record import Record
from envoy_authz.decision_log.masks import Masks
from envoy_authz.decision_log.shape import shown
from envoy_authz.decision_log.sinks import Sink
from envoy_sidecar.telemetry.tally import Tally

LOG = logging.getLogger(__name__)

CAPACITY = 10_000
_PAUSE_S = 0.1
_AT_ONCE = 256
_JOIN_S = 5.0


class DecisionLog:
    """Writes decisions to *sink*: of the allowed ones the share *allows* (0 to 1), of the denied ones *denies*.

    At most *capacity* wait to be written; what is more is counted, and lost. `put` and `wants` are for one thread.
    """

    def __init__(
        self,
        sink: Sink,
        masks: Masks,
        *,
        allows: float = 0.01,
        denies: float = 1.0,
        capacity: int = CAPACITY,
    ) -> None:
        self._sink = sink
        self._masks = masks
        self._allows = allows
        self._denies = denies
        self._capacity = capacity
        self._queue: deque[Record] = deque()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._fails = False
        self._written = Tally("authz.log.records", "Decisions written to the log.", ("result",))
        self._dropped = Tally("authz.log.dropped", "Decisions lost because too many waited to be written.")
        self._dropped.begin()
        self._written.begin([("written",), ("failed",)])

    @property
    def tallies(self) -> tuple[Tally, Tally]:
        """What was written and failed, and what was dropped."""
        return self._written, self._dropped

    def describe(self) -> Mapping[str, object]:
        """Return how it is configured."""
        return {"allows": self._allows, "denies": self._denies, "capacity": self._capacity}

    def wants(self, *, allowed: bool) -> bool:
        """Say whether the next decision is to be recorded."""
        share = self._allows if allowed else self._denies
        return share >= 1 or (share > 0 and random() < share)  # noqa: S311 - a sample is no secret

    def put(self, record: Record) -> None:
        """Queue *record*, or count it as lost."""
        if len(self._queue) < self._capacity:
            self._queue.append(record)
        else:
            self._dropped.add()

    def start(self) -> None:
        """Begin to write."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="authz-decision-log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, and end."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_JOIN_S)
            self._thread = None

    def _run(self) -> None:
        while not self._stopping.wait(_PAUSE_S):
            self._drain()
        self._drain()
        self._sink.close()

    def _drain(self) -> None:
        while self._queue:
            records = [self._queue.popleft() for _ in range(min(len(self._queue), _AT_ONCE))]
            try:
                self._sink.write([shown(record, self._masks) for record in records])
            except Exception as error:  # noqa: BLE001 - decisions go on whatever becomes of their log
                self._written.add(("failed",), len(records))
                if not self._fails:
                    LOG.error("the decision log can't be written: %s: %s", type(error).__name__, error)
                self._fails = True
            else:
                self._written.add(("written",), len(records))
                self._fails = False
