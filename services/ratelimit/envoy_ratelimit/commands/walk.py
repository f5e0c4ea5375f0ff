"""Why a rule applies: the walk of a descriptor through the tree, with what was passed over and why."""

from collections.abc import Iterator
from dataclasses import dataclass

from envoy_ratelimit.core.matching import Level, fits
from envoy_ratelimit.core.rule import Entries, Entry, Rule

_MOST = 20


@dataclass(frozen=True, slots=True)
class Candidate:
    """One entry of the file on a level: how it is written, whether it was `taken`, and `why` or why not."""

    written: str
    taken: bool
    why: str


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the request on its level; `left_out` candidates have another key, or are too many to show."""

    entry: str
    candidates: tuple[Candidate, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Walk:
    """The way through the tree, the rule it ends at if there is one, and the end in words."""

    steps: tuple[Step, ...]
    rule: Rule | None
    conclusion: str


def walk(root: Level, entries: Entries) -> Walk:
    """Explain what `matching.match` does with *entries*."""
    level = root
    steps: list[Step] = []
    for place, entry in enumerate(entries):
        below, candidates = _choose(level, entry)
        everything = len(level.exact) + len(level.bare)
        steps.append(
            Step(f"{entry[0]}={entry[1]}", tuple(candidates[:_MOST]), everything - len(candidates[:_MOST]))
        )
        if below is None:
            return Walk(
                tuple(steps), None, f"entry {place + 1} matches nothing on its level: no limit applies"
            )
        level = below
    if level.rule is not None:
        return Walk(tuple(steps), level.rule, f"the limit of {level.rule.path!r} applies")
    why = "the last entry has no rate_limit" + (", only those below it" if _has_children(level) else "")
    return Walk(tuple(steps), None, f"{why}; limits above it are not inherited: no limit applies")


def _has_children(level: Level) -> bool:
    return bool(level.exact or level.bare)


def _choose(level: Level, entry: Entry) -> tuple[Level | None, list[Candidate]]:
    """Return the level below, and the candidates in the order in which they are looked at, the taken one first."""
    taken: Level | None = None
    found: list[Candidate] = []
    for written, below, fit, why in _candidates(level, entry):
        if taken is None and fit:
            taken = below
            found.insert(0, Candidate(written, taken=True, why=why))
        else:
            found.append(Candidate(written, taken=False, why="another one went before it" if fit else why))
    return taken, found


def _candidates(level: Level, entry: Entry) -> Iterator[tuple[str, Level, bool, str]]:
    key, value = entry
    exact = level.exact.get(entry)
    if exact is not None:
        yield f"{key}={value}", exact, True, "exactly this key and value"
    patterns = level.wildcards.get(key, ())
    globs = {"*".join(glob) for glob, _ in patterns}
    for glob, below in patterns:
        pattern = "*".join(glob)
        if pattern == value:
            continue  # found exactly
        fit = fits(glob, value)
        yield (
            f"{key}={pattern}",
            below,
            fit,
            "the pattern fits" if fit else f"the pattern does not fit {value!r}",
        )
    bare = level.bare.get(key)
    if bare is not None:
        yield key, bare, True, "this key, whatever its value"
    for (other_key, other), below in level.exact.items():
        if other_key == key and other != value and other not in globs:
            yield f"{key}={other}", below, False, f"the value is {value!r}"
