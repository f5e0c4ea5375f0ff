"""What the API writes to the audit log, without drowning it: views are told once a minute, floods of denials in sum."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from envoy_tap.access import Person
from envoy_tap.audit.entry import Entry
from envoy_tap.audit.log import SERVICE, AuditLog

VIEW_EVERY_S = 60.0
DENIALS_PER_S = 10
_MAX_REMEMBERED = 1024
_MAX_CHARS = 256
LOG = logging.getLogger(__name__)


class Recorder:
    """Writes to *log*, in threads; used on the event loop. All but `denied` raise OSError: what can't be told is not done.

    The detail of what a person of an issuer did has their `subject`, which tells people of the same name apart.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._seen: dict[tuple[str, str, str, str], float] = {}
        self._second = 0
        self._in_second = 0
        self._suppressed = 0

    async def done(self, person: Person, action: str, session: str = "", **detail: Any) -> None:
        """Tell that *person* is about to do something."""
        await asyncio.to_thread(
            self._log.append,
            person.name,
            person.role.name.lower(),
            action,
            session,
            detail={**_subject(person), **detail},
        )

    async def seen(self, person: Person, what: str, session: str) -> None:
        """Tell that *person* looks at *what* (`exchanges`) of a session; once a minute if it goes on."""
        key, now_s = (person.name, person.subject, what, session), self._clock()
        if now_s - self._seen.get(key, -VIEW_EVERY_S) < VIEW_EVERY_S:
            return
        await self.done(person, "view", session, what=what)
        while len(self._seen) >= _MAX_REMEMBERED:
            del self._seen[next(iter(self._seen))]
        self._seen.pop(key, None)
        self._seen[key] = now_s

    async def by_service(self, action: str, session: str, **detail: Any) -> None:
        """Tell what the service did on its own."""
        await asyncio.to_thread(self._log.append, SERVICE, "", action, session, detail=detail)

    async def denied(self, person: Person | None, action: str, session: str = "", **detail: Any) -> None:
        """Tell what was refused; beyond ten a second they are counted, and told with the next one."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._in_second = second, 0
        self._in_second += 1
        if self._in_second > DENIALS_PER_S:
            self._suppressed += 1
            return
        more = {"suppressed": self._suppressed} if self._suppressed else {}
        self._suppressed = 0
        name, role = (person.name, person.role.name.lower()) if person else ("", "")
        shown = {key: str(value)[:_MAX_CHARS] for key, value in detail.items()}
        if person is not None:
            shown |= _subject(person)
        try:
            await asyncio.to_thread(
                self._log.append, name, role, action, session, outcome="denied", detail={**shown, **more}
            )
        except OSError as error:
            LOG.error("a denial could not be written to the audit log: %s", error)

    async def last(self, most: int) -> Sequence[Entry]:
        """Return the last entries, oldest first."""
        return await asyncio.to_thread(self._log.last, most)


def _subject(person: Person) -> dict[str, str]:
    return {"subject": person.subject} if person.subject else {}
