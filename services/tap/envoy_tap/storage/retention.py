"""Which sessions are kept no longer: by age, and when all of them take too much room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from envoy_tap.core.session import Progress

MAX_SESSIONS = 1000


class Reason(StrEnum):
    """Why a session is deleted."""

    AGE = "age"
    SIZE = "size"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Retention:
    """Sessions are kept for *keep_s* seconds after their end, and until all take *max_bytes* or are 1000."""

    keep_s: float = 7 * 24 * 3600.0
    max_bytes: int = 4 << 30

    def due(
        self, sessions: Sequence[Progress], sizes: Mapping[str, int], now_s: float
    ) -> Iterator[tuple[str, Reason]]:
        """Yield the sessions to be deleted; of those that have ended the ones that ended first. None else is."""
        ended = sorted(
            (each for each in sessions if not each.is_open), key=lambda progress: progress.ended_at_s or 0.0
        )
        left, held_bytes = len(sessions), sum(sizes.values())
        for progress in ended:
            session_id = progress.session.id
            reasons = {
                Reason.AGE: now_s - (progress.ended_at_s or 0.0) > self.keep_s,
                Reason.SIZE: held_bytes > self.max_bytes,
                Reason.NUMBER: left > MAX_SESSIONS,
            }
            for reason, holds in reasons.items():
                if holds:
                    left -= 1
                    held_bytes -= sizes.get(session_id, 0)
                    yield session_id, reason
                    break
