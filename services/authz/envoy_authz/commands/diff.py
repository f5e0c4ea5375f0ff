"""`envoy-authz diff`: which requests a new set of policies decides otherwise, each change with a request that shows it."""

from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from envoy_authz.commands.compare import KINDS, NEW_ALLOW, Change, Comparison, compare
from envoy_authz.commands.judge import Verdict
from envoy_authz.commands.output import Format, console, print_json, say
from envoy_authz.commands.places import Places
from envoy_authz.commands.shown import as_data, as_options, in_words
from envoy_authz.commands.source import Deciding, load
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS

_STYLES = {NEW_ALLOW: "bold red", "new deny": "bold yellow", "other answer": "bold"}


def diff(
    old: Path, new: Path, form: Format, *, deciding: Deciding | None, most: int, no_new_allows: bool
) -> int:
    """Print what the policies of *new* decide otherwise than those of *old*.

    Return 1 if anything changes; with *no_new_allows* only if something is allowed that was not. Raises
    SettingsError when either can't be used.
    """
    before, after = load([old], deciding), load([new], deciding)
    comparison = compare(before, after, most)
    places = (Places(before.loaded.documents), Places(after.loaded.documents))
    if form == "json":
        print_json(_data(comparison, places))
    else:
        _print(comparison, places)
    counted = [change for change in comparison.changes if not no_new_allows or change.kind == NEW_ALLOW]
    return EXIT_FINDINGS if counted else EXIT_CLEAN


def _data(comparison: Comparison, places: tuple[Places, Places]) -> dict[str, object]:
    return {
        "requests": comparison.requests,
        "exhaustive": comparison.whole and not comparison.guessed,
        "changes": [
            {
                "kind": change.kind,
                "requests": change.requests,
                "before": {**change.before.as_data(), "at": _at(change.before, places[0])},
                "after": {**change.after.as_data(), "at": _at(change.after, places[1])},
                "examples": [{**as_data(asked), "explain": as_options(asked)} for asked in change.examples],
            }
            for change in comparison.changes
        ],
    }


def _print(comparison: Comparison, places: tuple[Places, Places]) -> None:
    out = console()
    for change in comparison.changes:
        out.print(
            Text(f"{change.kind}: {in_words(change.examples[0])}", _STYLES[change.kind]), soft_wrap=True
        )
        for label, verdict, place in (
            ("was", change.before, places[0]),
            ("is", change.after, places[1]),
        ):
            at = _at(verdict, place)
            out.print(Text(f"  {label:<4} {verdict.message}{f' at {at}' if at else ''}"), soft_wrap=True)
        for asked in change.examples[1:]:
            out.print(Text(f"  also {in_words(asked)}"), soft_wrap=True)
        out.print(Text(f"  try  envoy-authz explain … {as_options(change.examples[0])}"), soft_wrap=True)
    say(_summary(comparison.changes, comparison))


def _at(verdict: Verdict, places: Places) -> str:
    return "" if verdict.rule is None else places.of(verdict.policy, verdict.rule)


def _summary(changes: Sequence[Change], comparison: Comparison) -> str:
    counts = [f"{sum(change.kind == kind for change in changes)} {kind}" for kind in KINDS]
    found = ", ".join(counts) if changes else "no decision changes"
    tried = f"{comparison.requests} requests decided by both"
    if not comparison.whole:
        return f"{found}; {tried}, a sample: --max-requests tries more"
    if comparison.guessed:
        return f"{found}; {tried}; for CEL and gRPC, values were guessed from the text"
    return f"{found}; {tried}: each kind that the changed rules tell apart"
