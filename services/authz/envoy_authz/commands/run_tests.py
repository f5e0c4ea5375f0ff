"""`envoy-authz test`: cases in YAML against policies, and which rules no case reaches."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.text import Text

from envoy_authz.commands.cases import Case, Expected, load_cases
from envoy_authz.commands.junit import junit
from envoy_authz.commands.output import Format, console, print_json, say, table
from envoy_authz.commands.places import Places
from envoy_authz.commands.source import Deciding, Source, load
from envoy_authz.commands.verdicts import all_rules
from envoy_authz.commands.walk import walk
from envoy_authz.core.decision import Outcome
from envoy_authz.core.mutations import Changes
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.settings import SettingsError

DEFAULT_FOLDER = "tests"
_FORBIDDEN = 403
_ALL = 100.0

Rule = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case; it passed if there are no problems."""

    name: str
    file: str
    line: int
    problems: tuple[str, ...]
    decision: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rules that some case matched, and those that none did, with their places."""

    rules: int
    missed: tuple[str, ...]

    @property
    def percent(self) -> float:
        """How many of the rules were matched; all of none."""
        return _ALL if not self.rules else _ALL * (self.rules - len(self.missed)) / self.rules


def run_tests(
    paths: Sequence[Path],
    tests: Sequence[Path],
    form: Format,
    *,
    deciding: Deciding | None = None,
    min_coverage: float = 0.0,
    junit_file: Path | None = None,
) -> int:
    """Print what came of all cases; return 1 if one failed, or fewer rules were matched than *min_coverage* percent.

    Raises SettingsError when policies or tests can't be read, or there is no case.
    """
    source = load(paths, deciding)
    try:
        cases, _files = load_cases(tests or default_tests(paths))
    except InvalidConfigurationError as error:
        raise SettingsError(f"the tests can't be used:\n{error}") from None
    if not cases:
        raise SettingsError("there is no case in the tests")
    results = [_result(case, source) for case in cases]
    coverage = _coverage(cases, source, Places(source.loaded.documents))
    if junit_file is not None:
        try:
            junit_file.write_bytes(junit(results))
        except OSError as error:
            raise SettingsError(f"--junit {junit_file}: {error.strerror or error}") from None
    _show(results, coverage, form)
    failed = [result for result in results if result.problems]
    if coverage.percent < min_coverage:
        say(f"{coverage.percent:.0f}% of the rules were matched, and {min_coverage:g}% are asked for")
        return EXIT_FINDINGS
    return EXIT_FINDINGS if failed else EXIT_CLEAN


def default_tests(paths: Sequence[Path]) -> list[Path]:
    """Return the folders `tests` beside *paths*: what is below these is read as policies. Raises SettingsError."""
    folders = dict.fromkeys(path.absolute().parent / DEFAULT_FOLDER for path in paths)
    found = [folder for folder in folders if folder.is_dir()]
    if not found:
        raise SettingsError(
            f"there are no tests: make {' or '.join(map(str, folders))}, or name them by --tests"
        )
    inside = [folder for folder in found if any(folder.is_relative_to(path.absolute()) for path in paths)]
    if inside:
        raise SettingsError(
            f"{inside[0]} is among the policies, where the service would read it too: move it"
        )
    here = Path.cwd()
    return [folder.relative_to(here) if folder.is_relative_to(here) else folder for folder in found]


def _result(case: Case, source: Source) -> Result:
    outcome = source.policies.evaluate(case.asked.request, case.asked.authentication)
    problems = tuple(compare(case.expected, outcome))
    position = case.position
    return Result(case.name, position.file, position.line, problems, outcome.decision.message)


def compare(expected: Expected, outcome: Outcome) -> list[str]:
    """Return in what *outcome* is not as *expected*."""
    decision = outcome.decision
    status = decision.response.status if decision.response is not None else _FORBIDDEN
    pairs: list[tuple[str, object, object]] = [
        ("decision", _word(expected.allowed), _word(decision.allowed)),
        ("policy", expected.policy, decision.policy),
        ("rule", expected.rule, decision.rule),
        ("reason", expected.reason, decision.reason.value),
        ("status", expected.status, 200 if decision.allowed else status),
    ]
    wrong = [
        f"{what}: expected {wanted}, got {'none' if got in {'', None} else got}"
        for what, wanted, got in pairs
        if wanted is not None and wanted != got
    ]
    return wrong + _mutations(expected, outcome.changes or Changes())


def _mutations(expected: Expected, changes: Changes) -> list[str]:
    got: dict[str, object] = {
        "setHeaders": dict(changes.set_headers),
        "removeHeaders": sorted(changes.remove_headers),
        "setQuery": dict(changes.set_query),
        "removeQuery": sorted(changes.remove_query),
        "metadata": dict(changes.metadata),
    }
    wrong = []
    for what, wanted in expected.mutations.items():
        in_order = sorted(wanted) if isinstance(wanted, list) else wanted
        if what == "setHeaders" and isinstance(in_order, dict):
            in_order = {name.lower(): value for name, value in in_order.items()}
        if in_order != got[what]:
            wrong.append(f"mutations.{what}: expected {in_order}, got {got[what]}")
    return wrong


def _word(allowed: bool) -> str:
    return "allow" if allowed else "deny"


def _coverage(cases: Sequence[Case], source: Source, places: Places) -> Coverage:
    matched: set[Rule] = set()
    for case in cases:
        for policy in walk(source.policies, case.asked):
            matched.update((policy.policy.full_name, rule.number) for rule in policy.rules if rule.matched)
    rules = all_rules(source.loaded.policies)
    missed = [one for one in rules if (one.policy.full_name, one.number) not in matched]
    return Coverage(len(rules), tuple(f"{places.at(one.policy, one.number)}: {one.name}" for one in missed))


def _show(results: Sequence[Result], coverage: Coverage, form: Format) -> None:
    failed = [result for result in results if result.problems]
    if form == "json":
        print_json(
            {
                "cases": [{**asdict(result), "passed": not result.problems} for result in results],
                "failed": len(failed),
                "coverage": {
                    "percent": coverage.percent,
                    "rules": coverage.rules,
                    "missed": list(coverage.missed),
                },
            }
        )
        return
    out = console()
    if failed:
        rows = [
            (f"{result.file}:{result.line}", result.name, "\n".join(result.problems), result.decision)
            for result in failed
        ]
        out.print(table("failed", ("where", "case", "what", "decided"), rows))
    for missed in coverage.missed:
        out.print(Text(f"{missed}: matched by no case"), soft_wrap=True)
    matched = coverage.rules - len(coverage.missed)
    out.print(
        Text(
            f"{len(results) - len(failed)} of {len(results)} cases passed; "
            f"{matched} of {coverage.rules} rules matched ({coverage.percent:.0f}%)"
        )
    )
