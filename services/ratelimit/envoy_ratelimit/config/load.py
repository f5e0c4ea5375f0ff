"""A set of limit files: each whole or not at all, and a bad one does not take the others with it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from envoy_ratelimit.config.claims import (
    Claim,
    Parts,
    by_domain,
    claims_of,
    put_together,
    read_parts,
    settle,
    still_held,
)
from envoy_ratelimit.config.domains import warn_of_unknown
from envoy_ratelimit.core.rules import AS_WRITTEN, Defaults, Rules, compile_rules
from envoy_sidecar.config.documents import Node, read_documents
from envoy_sidecar.config.files import SUFFIXES, read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position
from envoy_sidecar.config.strict import Reader

_PUT_ASIDE = frozenset({".bak", ".old", ".orig", ".save", ".swp", ".tmp"})


@dataclass(frozen=True, slots=True)
class LoadedRules:
    """Compiled limits, the files they came from in the order read, and what deserves a second look.

    `errors` are of files that hold as they were, or not at all: `as_before` and `left_out`. `gone_by_file` are limits
    that are not in their files any more, or whose files are gone themselves, and which hold all the same; these files
    and those `as_before` are among the `files`.
    """

    rules: Rules
    files: tuple[Path, ...]
    warnings: tuple[Finding, ...]
    errors: tuple[Finding, ...] = ()
    by_file: dict[Path, Parts] = field(default_factory=dict, repr=False)
    as_before: tuple[Path, ...] = ()
    gone_by_file: dict[Path, Parts] = field(default_factory=dict, repr=False)
    left_out: tuple[Path, ...] = ()

    @property
    def gone(self) -> tuple[Path, ...]:
        """The files that have limits no more which hold all the same."""
        return tuple(self.gone_by_file)

    @property
    def live(self) -> dict[Path, Parts]:
        """All that holds, by the file that has it or had it last."""
        return _added(self.by_file, self.gone_by_file)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: first the errors."""
        return (*self.errors, *self.warnings)

    @property
    def what_holds(self) -> str:
        """Which files do not hold as they are, for people."""
        said = {
            "as before": self.as_before,
            "gone, and in force until the errors are mended, limits of": self.gone,
            "left out": self.left_out,
        }
        parts = [f"{what}: {', '.join(map(str, files))}" for what, files in said.items() if files]
        return "; ".join((*parts, "the others hold"))


def load_rules(
    paths: Sequence[Path],
    *,
    strict: bool = False,
    merge: bool = False,
    previous: LoadedRules | None = None,
    defaults: Defaults = AS_WRITTEN,
) -> LoadedRules:
    """Read and compile all limits that *paths* (files, and folders with all below them) hold, as YAML or JSON.

    A file holds one domain, or several as YAML documents. A file with an error is used as it was in *previous*, if it
    was there, and else left out; its errors are returned. With *strict* any error is raised instead. With *merge*
    several files may hold one domain: their descriptors are put together, and none may come twice.

    What holds in *previous* goes before what is new: of two files with one domain it is the one that had it before that
    holds, and else the first. A domain of *previous* (with *merge*, a key and value of one) that is in no file any more
    holds on while it may be in one with an error: it was probably moved there, or its file renamed.

    A folder without any file is an error, and what was in it holds on: all at once is gone by mistake more often than not,
    as with a mount that went away.

    Raises InvalidConfigurationError with the findings of all files, warnings among them, when none of them can be used
    as it is: a limit that silently does not hold is worse than the old one.
    """
    found = read_files(paths, "limit", without_any="error")
    before = previous.by_file if previous is not None else {}
    live = previous.live if previous is not None else {}
    read = {file: _File(text, file, merge=merge) for file, text in found.texts.items()}
    places = [Path(finding.position.file) for finding in found.findings if finding.severity == "error"]
    unreadable = {file for file in live if file not in read and any(_is_at(file, at) for at in places)}
    now = {file: one.parts for file, one in read.items()}
    now |= dict.fromkeys(file for file in before if file in unreadable)
    settled = settle(now, before, merge=merge)

    emptied = {str(at) for at in found.empty if any(_is_at(file, at) for file in live)}
    findings = [_emptied(one) if one.position.file in emptied else one for one in found.findings]
    findings.extend(_passed_over(found.passed_over))
    for file, one in read.items():
        findings.extend(sorted((*one.findings, *settled.conflicts.get(file, ())), key=_place))
    errors = tuple(finding for finding in findings if finding.severity == "error")
    as_before = tuple(file for file, parts in settled.by_file.items() if parts is not now[file])
    if errors and (strict or len(as_before) == len(settled.by_file)):
        raise InvalidConfigurationError(findings)

    bad: dict[Path, Collection[Claim]] = dict.fromkeys(found.unread, ())
    for file, one in read.items():
        if one.parts is None:
            bad[file] = {(name,) for name in one.names}
        elif file in settled.conflicts:
            bad[file] = claims_of(one.parts, merge=merge).keys()
    declared = _declared(bad, live, found.texts)
    gone = {
        file: left
        for file, parts in live.items()
        if (left := still_held(parts, settled.claims, None if file in unreadable else declared, merge=merge))
    }
    all_of = _added(settled.by_file, gone)
    domains = by_domain(part for parts in all_of.values() for part in parts)
    if merge:
        findings.extend(_unknown_names(domains, besides=as_before))
    return LoadedRules(
        compile_rules(map(put_together, domains), defaults),
        tuple(all_of),
        tuple(finding for finding in findings if finding.severity != "error"),
        errors,
        settled.by_file,
        as_before,
        gone,
        tuple(file for file in bad if file not in all_of),
    )


class _File:
    """What a file says: its domains, unless it has an error."""

    def __init__(self, text: str, file: Path, *, merge: bool) -> None:
        reader = Reader()
        parts = read_parts(_documents(text, str(file), reader.findings), reader, merge=merge)
        self.findings = reader.findings
        names = frozenset(part.domain.name for part in parts)
        self.names = names if all(names) else frozenset()
        """The domains, also if there is an error; none if they can't be told."""
        has_error = any(finding.severity == "error" for finding in reader.findings)
        self.parts = None if has_error else parts


def _added(by_file: Mapping[Path, Parts], more: Mapping[Path, Parts]) -> dict[Path, Parts]:
    return {**by_file, **{file: (*by_file.get(file, ()), *parts) for file, parts in more.items()}}


def _declared(
    at_fault: Mapping[Path, Collection[Claim]], before: Mapping[Path, Parts], texts: Mapping[Path, str]
) -> frozenset[Claim] | None:
    """Return what the files *at_fault* may hold, domains or keys of one, or None if that can't be told of one of them.

    One of which nothing can be told may hold the domains that it had before, and those from anywhere that stand in its
    text; anything if there is no text, as in one that is being written.
    """
    declared: set[Claim] = set()
    domains_before = {part.domain.name for parts in before.values() for part in parts}
    for file, claims in at_fault.items():
        declared.update(claims)
        if not claims:
            own = {part.domain.name for part in before.get(file, ())}
            text = texts.get(file, "")
            if not own or not text.strip():
                return None
            declared.update((name,) for name in domains_before if name in own or name in text)
    return frozenset(declared)


def _emptied(finding: Finding) -> Finding:
    return replace(
        finding,
        message="no limit file is in this folder any more; the limits that were in it stay in force",
        hint="put the files back; or, if there are to be no limits, one that says `domain: none` and nothing else",
    )


def _unknown_names(domains: Iterable[Parts], *, besides: Collection[Path]) -> list[Finding]:
    """Return what `replaces` names and no limit is called, *besides* in files that hold as they were."""
    reader = Reader()
    for parts in domains:
        warn_of_unknown(parts, reader)
    old = set(map(str, besides))
    return [finding for finding in reader.findings if finding.position.file not in old]


def _passed_over(files: Iterable[Path]) -> list[Finding]:
    """Return which *files* hold limits and are not read for their suffix: the reference reads all of a folder.

    Not what an editor or a person put aside: `a.yaml~`, `a.yaml.off`, `#limits#`, `limits.bak`.
    """
    at_hand = [
        file
        for file in files
        if file.suffix.lower() not in _PUT_ASIDE
        and not file.name.startswith("#")
        and not file.name.endswith("~")
        and not any(suffix in file.name.lower() for suffix in SUFFIXES)
    ]
    texts = read_files(at_hand, "limit", without_any="error").texts
    return [
        Finding(
            Position(str(file)),
            "is not read, though it holds limits",
            f"in a folder, limit files end in {', '.join(sorted(SUFFIXES))}: rename it",
            severity="warning",
        )
        for file, text in texts.items()
        if "domain" in text and _File(text, file, merge=True).names
    ]


def _documents(text: str, file: str, findings: list[Finding]) -> list[Node]:
    try:
        documents = read_documents(text, file)
    except InvalidConfigurationError as error:
        findings.extend(error.findings)
        return []
    if not documents:
        hint = "write `domain: …`, or remove the file"
        findings.append(Finding(Position(file), "this file holds no domain", hint))
    return documents


def _is_at(file: Path, at: Path) -> bool:
    """Tell whether *file* is *at*, or in a folder that is."""
    return file == at or at in file.parents


def _place(finding: Finding) -> tuple[int, int]:
    return finding.position.line, finding.position.column
