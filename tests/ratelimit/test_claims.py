"""Which file holds which domain, over any reload: each has one holder, and who still has it keeps it."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.config.claims import Claim, Parts, claims_of, settle
from envoy_ratelimit.config.domains import Part
from envoy_ratelimit.core.rules import Descriptor, Domain
from envoy_sidecar.config.findings import Position

FILES = [Path(name) for name in "abcde"]
HERE = Position("f")


def part(domain: str, keys: str = "k") -> Part:
    return Part(Domain(domain, tuple(Descriptor(key) for key in keys)), HERE)


CONTENTS = st.dictionaries(
    st.sampled_from("ABCD"), st.sampled_from(["k", "l", "kl"]), min_size=1, max_size=2
).map(lambda domains: tuple(part(domain, keys) for domain, keys in domains.items()))
FOLDERS = st.dictionaries(st.sampled_from(FILES), CONTENTS)
RELOADS = st.dictionaries(st.sampled_from(FILES), st.none() | CONTENTS)


def holders(by_file: Mapping[Path, Parts], *, merge: bool) -> list[tuple[Claim, Path]]:
    return [(claim, file) for file, parts in by_file.items() for claim in claims_of(parts, merge=merge)]


@given(FOLDERS, RELOADS, st.booleans())
def test_each_domain_has_one_holder_and_who_still_has_it_keeps_it(
    start: Mapping[Path, Parts], now: Mapping[Path, Parts | None], merge: bool
) -> None:
    before = settle(start, {}, merge=merge).by_file
    settled = settle(now, before, merge=merge)
    held = holders(settled.by_file, merge=merge)
    assert len(dict(held)) == len(held)
    for claim, file in holders(before, merge=merge):
        parts = now.get(file, ())
        if parts is None or claim in claims_of(parts, merge=merge):
            assert dict(held)[claim] == file
    for file, parts in now.items():
        is_new = parts is not None and settled.by_file.get(file) is parts
        assert is_new or settled.by_file.get(file) is before.get(file)
        assert is_new == (parts is not None and not settled.conflicts.get(file))


@pytest.mark.parametrize("step", [1, -1])
def test_one_that_falls_back_takes_along_all_that_moved_up_behind_it(step: int) -> None:
    count = 300
    before = {Path(str(number)): (part(str(number)),) for number in range(count)}
    now: dict[Path, Parts | None] = {
        Path(str(number)): (part(str(number + step)),) for number in range(count)
    }
    now[Path(str(count - 1 if step > 0 else 0))] = None
    settled = settle(now, before, merge=False)
    assert settled.by_file == before
    assert len(settled.conflicts) == count - 1
