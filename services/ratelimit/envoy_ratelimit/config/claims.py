"""Which file holds which domain: none is in two, and what serves is not displaced by what comes anew."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from envoy_ratelimit.config.domains import Part, read_part, warn_of_unknown
from envoy_ratelimit.core.rules import Domain
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Reader

Parts = tuple[Part, ...]

Claim = tuple[str, ...]
"""What only one file can have: a domain, or where several may hold one, a domain with a key and a value."""

Claims = Mapping[Claim, Part]


@dataclass(frozen=True, slots=True)
class Settled:
    """The files that hold, with their domains; `conflicts` are of files whose new content could not be beside others."""

    by_file: dict[Path, Parts]
    conflicts: dict[Path, list[Finding]]
    claims: frozenset[Claim]


def claims_of(parts: Iterable[Part], *, merge: bool) -> dict[Claim, Part]:
    """Return each claim of *parts*, with the first one that has it."""
    claims: dict[Claim, Part] = {}
    for part in parts:
        name = part.domain.name
        if merge:
            for descriptor in part.domain.descriptors:
                claims.setdefault((name, descriptor.key, descriptor.value), part)
        else:
            claims.setdefault((name,), part)
    return claims


def still_held(
    parts: Iterable[Part], held: Collection[Claim], declared: Collection[Claim] | None, *, merge: bool
) -> Parts:
    """Return what of *parts* nobody has *held* but may be *declared* (None: anything may be); a domain alone is all of it.

    Its names need no second look any more.
    """

    def is_left(*claim: str) -> bool:
        return claim not in held and (declared is None or claim in declared or claim[:1] in declared)

    left = []
    for part in parts:
        domain = part.domain
        if not merge:
            left.extend([replace(part, replaced=())] if is_left(domain.name) else [])
        elif found := tuple(one for one in domain.descriptors if is_left(domain.name, one.key, one.value)):
            left.append(replace(part, domain=replace(domain, descriptors=found), replaced=()))
    return tuple(left)


def conflict(own: Mapping[Claim, Part], other: Mapping[Claim, Part]) -> list[Finding]:
    """Return what of *own* cannot be beside *other*: a finding for each part, on the first that it is about."""
    findings: dict[int, Finding] = {}
    for claim, part in own.items():
        if claim in other and id(part) not in findings:
            findings[id(part)] = _finding(claim, part, other[claim])
    return list(findings.values())


def read_parts(documents: Iterable[Node], reader: Reader, *, merge: bool) -> Parts:
    """Return what *documents* say of domains, and report what of it cannot be side by side."""
    parts: list[Part] = []
    claims: dict[Claim, Part] = {}
    for document in documents:
        part = read_part(document, reader)
        if not merge:
            warn_of_unknown([part], reader)
        if part.domain.name:
            own = claims_of([part], merge=merge)
            reader.findings.extend(conflict(own, claims))
            claims |= own
        parts.append(part)
    return tuple(parts)


def by_domain(parts: Iterable[Part]) -> list[Parts]:
    """Return the parts of each domain."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.domain.name, []).append(part)
    return [tuple(of_one) for of_one in found.values()]


def put_together(parts: Parts) -> Domain:
    """Return the domain that *parts* are parts of."""
    descriptors = tuple(descriptor for part in parts for descriptor in part.domain.descriptors)
    return Domain(parts[0].domain.name, descriptors)


def settle(now: Mapping[Path, Parts | None], before: Mapping[Path, Parts], *, merge: bool) -> Settled:
    """Let each file hold as it is *now*; as it was *before* where it can't be used (None) or conflicts, or not at all.

    Who had a claim before and still makes it goes before the others; then the order of *now* counts.
    """
    old = {file: claims_of(parts, merge=merge) for file, parts in before.items() if file in now}
    new = {file: claims_of(parts, merge=merge) for file, parts in now.items() if parts is not None}
    claimants: dict[Claim, list[Path]] = {}
    for file, own in new.items():
        for claim in own.keys() - old.get(file, {}).keys():
            claimants.setdefault(claim, []).append(file)
    back: dict[Path, list[Finding]] = {}
    while True:
        round_ = _Round(old, new, claimants, dict(back))
        round_.keep()
        round_.add()
        fell_back = {file: found for file, found in round_.conflicts.items() if file in old}
        if fell_back.keys() == back.keys():
            break
        # They hold as before, which can be in the way of others: all are looked at anew.
        back = fell_back
    by_file = {
        file: chosen
        for file, parts in now.items()
        if (chosen := before.get(file) if file in round_.conflicts or parts is None else parts) is not None
    }
    return Settled(by_file, round_.conflicts, frozenset(round_.held))


class _Round:
    """Who holds what, while those with `conflicts` hold as before or not at all."""

    def __init__(
        self,
        old: Mapping[Path, Claims],
        new: Mapping[Path, Claims],
        claimants: Mapping[Claim, Sequence[Path]],
        conflicts: dict[Path, list[Finding]],
    ) -> None:
        self._old = old
        self._new = new
        self._claimants = claimants
        self.conflicts = conflicts
        self.held: dict[Claim, tuple[Path, Part]] = {}

    def keep(self) -> None:
        """Hold what was had before and still is; who claims it anew falls back, and so has what it had before."""
        waiting = list(self._old)
        while waiting:
            file = waiting.pop()
            before = self._old[file]
            own = before if file in self.conflicts else self._new.get(file, before)
            kept = [claim for claim in own if claim in before]
            self.held.update({claim: (file, own[claim]) for claim in kept})
            for other in (other for claim in kept for other in self._claimants.get(claim, ())):
                if other not in self.conflicts:
                    self.conflicts[other] = self._conflict(other)
                    waiting.extend([other] if other in self._old else [])

    def add(self) -> None:
        """Hold what is claimed anew, in order."""
        for file, own in self._new.items():
            if file in self.conflicts:
                continue
            if found := self._conflict(file):
                self.conflicts[file] = found
            else:
                self.held.update({claim: (file, part) for claim, part in own.items()})

    def _conflict(self, file: Path) -> list[Finding]:
        own = self._new[file]
        others = {claim: self.held[claim][1] for claim in own if self.held.get(claim, (file,))[0] != file}
        return conflict(own, others)


def _finding(claim: Claim, part: Part, other: Part) -> Finding:
    if len(claim) == 1:
        message, hint = f"the domain {claim[0]!r} is defined twice", f"the other is at {other.position}"
        return Finding(part.position, message, f"{hint}; write both in one", "domain")
    _, key, value = claim
    name = f"{key}_{value}" if value else key
    message = f"{name!r} is in this domain at {other.position} as well"
    return Finding(part.position, message, "remove one", "descriptors")
