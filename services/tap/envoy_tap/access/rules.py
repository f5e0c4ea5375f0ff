"""Who may tap what: rules for teams, above what sessions ask for, and whose sessions one sees."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

from envoy_tap.access.people import Person, Role
from envoy_tap.core.predicate import MAX_CHARS, Condition, Field, Op, all_of, any_of, printed
from envoy_tap.core.session import MAXIMA, Limits, Session, SessionError

EVERYONE = "*"
WAITING_S = 3600
"""How long a session waits for approval."""

_SPECIAL = frozenset("*?[")


class DeniedError(SessionError):
    """No rule lets this person have what was asked for."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the people of *team* (`*`: everyone) may tap.

    `clusters`: `node.cluster` of proxies, where `*` is any text; `paths`: templates. Without any, all. `maxima` are
    the highest limits that may be asked for. `approval`: another operator of the team must agree to each session.
    `sees`: other teams whose sessions they may look at, `*` for all.
    """

    team: str
    clusters: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    maxima: Limits = MAXIMA
    approval: bool = False
    sees: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a file; None for no file: roles alone decide."""

    rules: Sequence[Rule] | None = None

    def granted(self, person: Person, asked: Session) -> Session:
        """Return *asked* as the first rule that allows it lets *person* have it; raises DeniedError.

        A rule with paths or clusters narrows what leaves them open. Rules without approval come first. An admin is
        bound by none.
        """
        if self.rules is None or person.role is Role.ADMIN:
            return asked
        own = self._of(person)
        if not own:
            raise DeniedError(
                "session", f"no rule lets {person.name} tap anything", _ask("a rule for a team")
            )
        refusals = []
        for rule in sorted(own, key=lambda rule: rule.approval):
            try:
                return _narrowed(asked, rule)
            except DeniedError as refusal:
                refusals.append(refusal)
        raise refusals[0]

    def sees(self, person: Person, session: Session) -> bool:
        """Whether *person* may look at *session*."""
        return self.controls(person, session) or any(
            session.team in rule.sees or EVERYONE in rule.sees for rule in self._of(person)
        )

    def controls(self, person: Person, session: Session) -> bool:
        """Whether *session* is *person*'s own, or of a team of theirs."""
        return (
            self.rules is None
            or person.role is Role.ADMIN
            or person.is_who(session.who, session.subject)
            or any(rule.team == session.team for rule in self._of(person))
        )

    def _of(self, person: Person) -> list[Rule]:
        return [rule for rule in self.rules or () if rule.team in person.teams or rule.team == EVERYONE]


def _narrowed(asked: Session, rule: Rule) -> Session:
    for each in fields(Limits):
        most = getattr(rule.maxima, each.name)
        if getattr(asked.limits, each.name) > most:
            raise DeniedError(
                f"limits.{each.name}", f"the rule of team {rule.team} allows {most} at most", _ask("less")
            )
    predicate = asked.predicate
    if rule.paths and asked.socket:
        raise DeniedError(
            "socket", f"the rule of team {rule.team} allows some paths only, not connections", _ask("HTTP")
        )
    if rule.paths:
        path = Field("path")
        predicate = all_of(any_of(*(Condition(path, Op.LIKE, each) for each in rule.paths)), predicate)
        if len(printed(predicate)) > MAX_CHARS:
            raise DeniedError("predicate", "is too long with the paths of the rule", _ask("a shorter one"))
    return replace(
        asked,
        predicate=predicate,
        nodes=replace(asked.nodes, clusters=_clusters(asked, rule)),
        team=rule.team,
        paths=rule.paths,
        needs_approval=rule.approval,
        expires_at_s=math.ceil(asked.created_at_s) + WAITING_S if rule.approval else asked.expires_at_s,
    )


def _clusters(asked: Session, rule: Rule) -> tuple[str, ...]:
    wanted = asked.nodes.clusters
    if not rule.clusters or not wanted:
        return wanted or rule.clusters
    for each in wanted:
        if not any(_covers(allowed, each) for allowed in rule.clusters):
            raise DeniedError(
                "nodes.clusters",
                f"the rule of team {rule.team} does not allow {each!r}",
                f"it allows {', '.join(rule.clusters)}",
            )
    return wanted


def _covers(allowed: str, wanted: str) -> bool:
    """Whether all names that *wanted* fits are names that *allowed* fits; sure where it says so."""
    if not _SPECIAL & set(wanted):
        return fnmatchcase(wanted, allowed)
    beginning = allowed.removesuffix("*")
    is_prefix = allowed.endswith("*") and not _SPECIAL & set(beginning)
    return wanted == allowed or (is_prefix and wanted.startswith(beginning))


def _ask(what: str) -> str:
    return f"ask for {what}, or ask an admin"
