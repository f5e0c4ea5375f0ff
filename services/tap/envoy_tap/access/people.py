"""Who uses the API: people, and what their role lets them do."""

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """What one may do; each may also do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


MAY = {
    "view": Role.VIEWER,
    "export": Role.VIEWER,
    "start": Role.OPERATOR,
    "stop": Role.OPERATOR,
    "approve": Role.OPERATOR,
    "replay": Role.OPERATOR,
    "delete": Role.ADMIN,
    "audit": Role.ADMIN,
}
"""What may be done, and the least role that it takes."""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, in which role, and of which teams.

    `subject` is, for who came by an issuer, one text for the issuer and its subject (RFC 7519, 4.1.1 and 4.1.2): names may
    be changed, and two issuers may give the same one. It is empty for who came otherwise, whose name is their own.
    """

    name: str
    role: Role
    teams: frozenset[str] = frozenset()
    subject: str = ""

    def is_who(self, name: str, subject: str) -> bool:
        """Whether this is the person of that *name* and *subject*."""
        return self.subject == subject and (bool(subject) or self.name == name)

    def may_be_who(self, name: str, subject: str) -> bool:
        """Whether this may be that person: one of the same name is not taken for another."""
        return self.name == name or self.is_who(name, subject)
