"""`envoy-authz replay`: decisions of the log taken again by other policies: what flips, and what the log can't tell."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from envoy_authz.commands import dimensions as dim
from envoy_authz.commands.boxes import Clause
from envoy_authz.commands.dimensions import written
from envoy_authz.commands.judge import Verdict, trusted, verdict_of
from envoy_authz.commands.output import Format, console, print_json, say
from envoy_authz.commands.places import Places
from envoy_authz.commands.records import Logged, Unread, read_log
from envoy_authz.commands.shown import as_options, in_words
from envoy_authz.commands.source import Deciding, Source, load
from envoy_authz.commands.space import Space
from envoy_authz.core.decision import Reason
from envoy_authz.core.policy import Action
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS

_KNOWN = frozenset(
    {dim.METHOD, dim.PATH, dim.HOST, dim.PRINCIPAL, dim.ADDRESS, dim.PORT, dim.SNI, dim.NAMESPACE, dim.TOKEN}
)
_LOGGED = frozenset(
    {
        *("request.method", "request.path", "request.host", "request.auth.principal"),
        *("source.principal", "source.namespace", "source.trust_domain", "source.ip"),
        *("destination.port", "connection.sni"),
    }
)
"""The variables of CEL that the log tells."""


@dataclass(slots=True)
class Flips:
    """Decisions that are now taken otherwise, of one caller by the same rules; `first` is an example."""

    allowed: bool
    caller: str
    was: str
    verdict: Verdict
    first: Logged
    count: int = 0


@dataclass(slots=True)
class Replayed:
    """What came of a log: `same` decisions, flips, and those that depend on what the log has not (by its name)."""

    same: int = 0
    flips: dict[tuple[object, ...], Flips] = field(default_factory=dict)
    undecided: Counter[str] = field(default_factory=Counter)
    unread: Unread = field(default_factory=Unread)

    @property
    def in_order(self) -> list[Flips]:
        """The flips: what is newly allowed first, then the most frequent."""
        return sorted(self.flips.values(), key=lambda one: (not one.allowed, -one.count))


def replay(logs: tuple[Path, ...], paths: Sequence[Path], form: Format, *, deciding: Deciding | None) -> int:
    """Print which decisions of *logs* the policies of *paths* take otherwise; return 1 if there is any.

    Raises SettingsError for policies or logs that can't be read.
    """
    source = load(paths, deciding)
    replayed = Replayed()
    judged = _Judged(source)
    for logged in read_log(logs, replayed.unread, frozenset(trusted(source))):
        _take(logged, judged, replayed)
    if form == "json":
        print_json(_data(replayed, Places(source.loaded.documents)))
    else:
        _print(replayed, Places(source.loaded.documents))
    return EXIT_FINDINGS if replayed.flips else EXIT_CLEAN


def _take(logged: Logged, judged: "_Judged", replayed: Replayed) -> None:
    verdict, depends = judged.verdict(logged)
    if depends:
        replayed.undecided[", ".join(sorted(depends))] += 1
        return
    if verdict.allowed == logged.allowed:
        replayed.same += 1
        return
    request, tokens = logged.asked.request, logged.asked.authentication.tokens
    caller = request.source_principal or ", ".join(token.principal for token in tokens) or "nobody"
    was = f"{logged.policy} (spec.rules[{logged.rule}])" if logged.policy else "no policy"
    key = (verdict.by, caller, was)
    flips = replayed.flips.setdefault(key, Flips(verdict.allowed, caller, was, verdict, logged))
    flips.count += 1


class _Judged:
    """Decides logged requests, and tells apart what is certain of them from what the log has not."""

    def __init__(self, source: Source) -> None:
        self._policies = source.policies
        self._boxes = Space([source.policies]).boxes[0]
        self._checks = {test: test.compiled() for box in self._boxes for test in box.clause.tests}

    def verdict(self, logged: Logged) -> tuple[Verdict, frozenset[str]]:
        """Return the decision, and what it depends on that is unknown; nothing if it is certain."""
        asked = logged.asked
        found = verdict_of(self._policies.evaluate(asked.request, asked.authentication))
        if found.reason == Reason.AMBIGUOUS_PATH:
            # Any rule may have decided the other reading.
            near = [(box.clause, self._unknown(box.clause, logged)) for box in self._boxes]
            return found, frozenset(name for _clause, unknown in near for name in unknown)
        near = [(clause, self._unknown(clause, logged)) for clause in self._near(logged)]
        if any(clause.policy.action is Action.DENY and not unknown for clause, unknown in near):
            return found, frozenset()
        allowed = any(clause.policy.action is Action.ALLOW and not unknown for clause, unknown in near)
        # Who is allowed for certain may only be denied by what is unknown.
        matters = (unknown for clause, unknown in near if not allowed or clause.policy.action is Action.DENY)
        return found, frozenset(name for unknown in matters for name in unknown)

    def _near(self, logged: Logged) -> Iterator[Clause]:
        """Yield the clauses that match for all that is known of the request."""
        asked = logged.asked
        facts = self._policies.facts(asked.request, asked.authentication)
        for box in self._boxes:
            tests = [test for test in box.clause.tests if _is_known(test.dimension, logged)]
            if all(self._checks[test](facts) for test in tests):
                yield box.clause

    def _unknown(self, clause: Clause, logged: Logged) -> frozenset[str]:
        """Return what *clause* compares that is not in the log."""
        names = [test.dimension for test in clause.tests]
        blind = frozenset(written(name) for name in (*names, *clause.loose) if not _is_known(name, logged))
        return blind | (clause.reads - _LOGGED)


def _is_known(name: str, logged: Logged) -> bool:
    if name in logged.unknown:
        return False
    if name.startswith(dim.CLAIM) and not logged.asked.authentication.tokens:
        return True  # without a token there is none
    return name in _KNOWN or name in logged.known or name.startswith(dim.LABEL)


def _data(replayed: Replayed, places: Places) -> dict[str, object]:
    return {
        "same": replayed.same,
        "flips": [
            {
                "count": one.count,
                "caller": one.caller,
                "was": {
                    "decision": _word(one.first.allowed),
                    "policy": one.first.policy,
                    "rule": one.first.rule,
                },
                "is": {**one.verdict.as_data(), "at": _at(one.verdict, places)},
                "example": {"id": one.first.id, "explain": as_options(one.first.asked)},
            }
            for one in replayed.in_order
        ],
        "undecided": dict(replayed.undecided),
        "not_decided_by_policies": replayed.unread.other,
        "unreadable": replayed.unread.broken,
    }


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _at(verdict: Verdict, places: Places) -> str:
    return "" if verdict.rule is None else places.of(verdict.policy, verdict.rule)


def _print(replayed: Replayed, places: Places) -> None:
    out = console()
    for one in replayed.in_order:
        kind, style = ("new allow", "bold red") if one.allowed else ("new deny", "bold yellow")
        out.print(
            Text(f"{kind}, {one.count} times, {one.caller.removeprefix('spiffe://')}", style), soft_wrap=True
        )
        at = _at(one.verdict, places)
        out.print(Text(f"  was  {'allowed' if one.first.allowed else 'denied'} by {one.was}"), soft_wrap=True)
        out.print(Text(f"  is   {one.verdict.message}{f' at {at}' if at else ''}"), soft_wrap=True)
        out.print(Text(f"  as   {in_words(one.first.asked)} (id {one.first.id})"), soft_wrap=True)
    for names, count in replayed.undecided.most_common():
        out.print(
            Text(f"not settled, {count} times: depends on what the log has not: {names}"), soft_wrap=True
        )
    say(_summary(replayed))


def _summary(replayed: Replayed) -> str:
    counts: Mapping[str, int] = {
        "the same": replayed.same,
        "new allows": sum(one.count for one in replayed.in_order if one.allowed),
        "new denies": sum(one.count for one in replayed.in_order if not one.allowed),
        "not settled": sum(replayed.undecided.values()),
        "refused before policies": replayed.unread.other,
        "unreadable lines": replayed.unread.broken,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "the log is empty"
