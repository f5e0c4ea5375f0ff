"""`envoy-ratelimit explain`: which limit holds for a descriptor, why no other does, and what is left of it."""

from collections.abc import Sequence
from dataclasses import asdict

from rich.text import Text

from envoy_ratelimit.commands.buckets import State, peek
from envoy_ratelimit.commands.descriptors import written
from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_ratelimit.commands.source import LimitSource, SharedStore
from envoy_ratelimit.commands.walk import Walk, walk
from envoy_ratelimit.core.rule import Entry
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS


def explain(
    source: LimitSource, descriptors: Sequence[tuple[Entry, ...]], store: SharedStore, form: Format
) -> int:
    """Print the walk of each descriptor; return 1 if no limit applies to any."""
    rules = source.load()
    domain = source.domain
    root = rules.domains.get(domain)
    if root is None:
        say(f"the domain {domain!r} is not configured: {', '.join(sorted(rules.domains)) or 'there is none'}")
        return EXIT_FINDINGS
    states: Sequence[State | None] = [None] * len(descriptors)
    if store.store:
        with store.limiter(rules) as limiter:
            states = peek(limiter, domain, descriptors)
    walks = [walk(root, entries) for entries in descriptors]
    if form == "json":
        print_json(
            [
                _data(entries, way, state)
                for entries, way, state in zip(descriptors, walks, states, strict=True)
            ]
        )
    else:
        for entries, way, state in zip(descriptors, walks, states, strict=True):
            _print(entries, way, state)
    return EXIT_CLEAN if any(way.rule is not None for way in walks) else EXIT_FINDINGS


def _data(entries: tuple[Entry, ...], way: Walk, state: State | None) -> dict[str, object]:
    rule = way.rule
    return {
        "descriptor": written(entries),
        "rule": rule and rule.path,
        "limit": rule and ("unlimited" if rule.rate is None else str(rule.rate)),
        "conclusion": way.conclusion,
        "steps": [asdict(step) for step in way.steps],
        "state": asdict(state) if state is not None else None,
    }


def _print(entries: tuple[Entry, ...], way: Walk, state: State | None) -> None:
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
    out.print(table(written(entries), ("entry", "", "in the file", "why"), rows))
    rule = way.rule
    limit = "" if rule is None else f": {'unlimited' if rule.rate is None else rule.rate}"
    shadow = ", in shadow mode" if rule is not None and rule.shadow_mode else ""
    out.print(Text(f"{way.conclusion}{limit}{shadow}"))
    if state is not None:
        out.print(Text(str(state)))
    out.print()
