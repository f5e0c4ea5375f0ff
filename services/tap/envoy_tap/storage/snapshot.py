"""A session and what has become of it at one moment, as the event loop hands it to a thread that stores it."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from envoy_tap.core.session import Progress, Session, State
from envoy_tap.core.spec import as_object, stored


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session's `Progress`, frozen; `elsewhere`, which others store, is read only."""

    session: Session
    state: State = State.ACTIVE
    ended_at_s: float | None = None
    ended_by: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    approved_by: str = ""
    elsewhere: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """Return *progress* as it is now."""
        return cls(
            progress.session,
            progress.state,
            progress.ended_at_s,
            progress.ended_by,
            dict(progress.counts),
            progress.approved_by,
        )

    def progress(self) -> Progress:
        """Return what goes on from here."""
        return Progress(
            self.session,
            self.state,
            self.ended_at_s,
            self.ended_by,
            Counter(self.counts),
            self.approved_by,
            Counter(self.elsewhere),
        )

    def encoded(self) -> bytes:
        """Return it as bytes, which `decoded` reads."""
        data = {
            "session": as_object(self.session),
            "state": str(self.state),
            "ended_at_s": self.ended_at_s,
            "ended_by": self.ended_by,
            "counts": dict(self.counts),
            "approved_by": self.approved_by,
        }
        return json.dumps(data, separators=(",", ":")).encode()

    @classmethod
    def decoded(cls, data: bytes) -> Self:
        """Return what was encoded as *data*; raises ValueError, KeyError or TypeError for anything else."""
        found: dict[str, Any] = json.loads(data)
        ended_at_s = found["ended_at_s"]
        return cls(
            stored(found["session"]),
            State(found["state"]),
            None if ended_at_s is None else float(ended_at_s),
            str(found["ended_by"]),
            {str(name): int(count) for name, count in found["counts"].items()},
            str(found["approved_by"]),
        )
