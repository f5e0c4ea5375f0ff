"""Which file holds which domain: none is in two, and what serves is not displaced by what comes anew."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from envoy_ratelimit.config.domains import Part, read_part, warn_of_unknown
from envoy_ratelimit.core.rules import Domain
from envoy_sidecar.config.documents import Node
from envoy_sidecar.config.findings import Finding
from envoy_sidecar.config.strict import Reader

Parts = tuple[Part, ...]

Claim = tuple[str, ...]
"""What only one file can have: a domain, or where several may hold one, a domain with a key and a value."""


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
    old = {file: claims_of(parts, merge=merge) for file, parts in before.items()}
    back: dict[Path, list[Finding]] = {}
    while True:
        by_file = {
            file: chosen
            for file, parts in now.items()
            if (chosen := before.get(file) if file in back or parts is None else parts) is not None
        }
        claims = {file: claims_of(parts, merge=merge) for file, parts in by_file.items()}
        held: dict[Claim, tuple[Path, Part]] = {
            claim: (file, part)
            for file in by_file.keys() & old.keys()
            for claim, part in claims[file].items()
            if claim in old[file]
        }
        conflicts = dict(back)
        for file, own in claims.items():
            others = {claim: held[claim][1] for claim in own if held.get(claim, (file,))[0] != file}
            if found := conflict(own, others):
                conflicts[file] = found
                del by_file[file]
            else:
                held.update({claim: (file, part) for claim, part in own.items()})
        fell_back = {file: found for file, found in conflicts.items() if file in old and file not in back}
        if not fell_back:
            return Settled(by_file, conflicts, frozenset(held))
        # They hold as before, which can be in the way of others: all are looked at anew.
        back |= fell_back


def _finding(claim: Claim, part: Part, other: Part) -> Finding:
    if len(claim) == 1:
        message = f"the domain {claim[0]!r} is defined twice"
        return Finding(
            part.position, message, f"the other is at {other.position}; write both in one", "domain"
        )
    _, key, value = claim
    name = f"{key}_{value}" if value else key
    message = f"{name!r} is in this domain at {other.position} as well"
    return Finding(part.position, message, "remove one", "descriptors")
