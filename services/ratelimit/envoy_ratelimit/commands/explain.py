"""`envoy-ratelimit explain`: which limit holds for a descriptor, why no other does, and what is left of it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.text import Text

from envoy_ratelimit.commands.absent import absent
from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.source import LimitSource, SharedStore
from envoy_ratelimit.commands.states import State, peek, plan_for, replacing
from envoy_ratelimit.commands.walk import Walk, walk
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.core.rule import Entry
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS


def explain(
    source: LimitSource, descriptors: Sequence[tuple[Entry, ...]], store: SharedStore, form: Format
) -> int:
    """Print the walk of each descriptor; return 1 if no limit applies to any."""
    rules = source.load()
    domain = source.domain
    if not source.is_in(rules):
        return EXIT_FINDINGS
    root = rules.domains[domain]
    states: Sequence[State | str | None] = [None] * len(descriptors)
    if store.store:
        with store.open() as opened:
            looked = peek(Limiter(rules, opened), domain, descriptors)
            for missing in absent(source, opened, descriptors, looked):
                say(missing.why)
            states = looked
    plan = plan_for(Limiter(rules, MemoryStore()), domain, descriptors, 0)
    found = [
        _Found(
            entries, walk(root, entries), replacing(plan, rule), state if isinstance(state, State) else None
        )
        for entries, rule, state in zip(descriptors, plan.rules, states, strict=True)
    ]
    if form == "json":
        print_json([_data(each) for each in found])
    else:
        for each in found:
            _print(each)
    return EXIT_CLEAN if any(each.applies for each in found) else EXIT_FINDINGS


@dataclass(frozen=True, slots=True)
class _Found:
    """One descriptor: its walk, which limits of the same request replace its own, and what is in its bucket."""

    entries: tuple[Entry, ...]
    way: Walk
    replaced_by: Sequence[str]
    state: State | None

    @property
    def applies(self) -> bool:
        """Whether its limit does."""
        return self.way.rule is not None and not self.replaced_by

    @property
    def conclusion(self) -> str:
        """The end in words."""
        rule = self.way.rule
        if rule is None or not self.replaced_by:
            return self.way.conclusion
        return f"the limit of {rule.path!r} is replaced by {' and '.join(map(repr, self.replaced_by))}"


def _data(found: _Found) -> dict[str, object]:
    rule = found.way.rule
    return {
        "descriptor": written(found.entries),
        "rule": rule and rule.path,
        "limit": rule and ("unlimited" if rule.rate is None else str(rule.rate)),
        "replaced_by": list(found.replaced_by),
        "conclusion": found.conclusion,
        "steps": [asdict(step) for step in found.way.steps],
        "state": found.state and asdict(found.state),
    }


def _print(found: _Found) -> None:
    way = found.way
    out = console()
    rows = [
        (
            step.entry if first else "",
            "→" if candidate.taken else "",
            candidate.written,
            candidate.why,
        )
        for step in way.steps
        for first, candidate in ((place == 0, candidate) for place, candidate in enumerate(step.candidates))
    ]
    rows.extend(
        (step.entry, "", "", "nothing on this level has this key")
        for step in way.steps
        if not step.candidates
    )
    out.print(table(written(found.entries), ("entry", "", "in the file", "why"), rows))
    rule = way.rule if found.applies else None
    limit = "" if rule is None else f": {'unlimited' if rule.rate is None else rule.rate}"
    shadow = ", in shadow mode" if rule is not None and rule.shadow_mode else ""
    out.print(Text(f"{found.conclusion}{limit}{shadow}"))
    if found.state is not None:
        out.print(Text(str(found.state)))
    out.print()
