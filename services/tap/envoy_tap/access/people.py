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
    """Who asks, in which role, and of which teams."""

    name: str
    role: Role
    teams: frozenset[str] = frozenset()
