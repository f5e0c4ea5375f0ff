"""The sessions as one person sees them, and the log of what people do with them."""

from collections.abc import Sequence
from dataclasses import dataclass

from envoy_tap.access import MAY, Authority, DeniedError, Person
from envoy_tap.audit import Recorder
from envoy_tap.core.session import Progress, Session
from envoy_tap.registry import Registry

_CONTROLS = ("approve", "stop", "delete")


class HiddenError(KeyError):
    """A session that is there, but not for this person; who asks is told that there is none."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Where each request about a session begins: by `get` or `controlled`, never by the registry itself.

    What is done is told to *recorder* before it happens; what these methods raise is told by who called the route.
    """

    registry: Registry
    authority: Authority
    recorder: Recorder

    def get(self, person: Person, session_id: str) -> Progress:
        """Return a session that *person* may look at; raises KeyError, HiddenError."""
        progress = self.registry.get(session_id)
        if not self.authority.rules.sees(person, progress.session):
            raise HiddenError(session_id)
        return progress

    def all(self, person: Person) -> Sequence[Progress]:
        """Return the sessions that *person* may look at, oldest first."""
        rules = self.authority.rules
        return [each for each in self.registry.all() if rules.sees(person, each.session)]

    def may(self, person: Person, session: Session) -> Sequence[str]:
        """Return what *person* may do to a *session* that they may look at, by the names of MAY, in whatever state it is."""
        if not self.authority.rules.controls(person, session):
            return ()
        own = person.may_be_who(session.who, session.subject)
        return [verb for verb in _CONTROLS if person.role >= MAY[verb] and not (verb == "approve" and own)]

    def controlled(self, person: Person, session_id: str) -> Progress:
        """Return a session that *person* may end; raises DeniedError for one to be looked at only, and as `get`."""
        progress = self.get(person, session_id)
        if not self.authority.rules.controls(person, progress.session):
            raise DeniedError("session", f"is of team {progress.session.team}; you may look at it only")
        return progress
