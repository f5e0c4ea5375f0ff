"""Limits that move from file to file: whatever breaks on the way, none that was live is lost."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_ratelimit.config import LoadedRules, load_rules
from envoy_sidecar.config.findings import InvalidConfigurationError


def domain(name: str, **limits: object) -> str:
    keys = [
        f"\n  - {{key: {key}, rate_limit: {{unit: day, requests_per_unit: {limits[key]}}}}}" for key in limits
    ]
    return f"domain: {name}\ndescriptors:{''.join(keys)}\n"


class Folder:
    """A folder of limit files, read again after each change of some of them."""

    def __init__(self, path: Path, *, merge: bool = True) -> None:
        self.path = path
        self.merge = merge
        self.loaded: LoadedRules | None = None

    def reload(self, **files: str | bytes | None) -> LoadedRules:
        for name, content in files.items():
            file = self.path / f"{name}.yaml"
            if content is None:
                file.unlink(missing_ok=True)
            else:
                file.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.loaded = load_rules([self.path], merge=self.merge, previous=self.loaded)
        return self.loaded


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def held(loaded: LoadedRules) -> dict[str, str]:
    return {f"{rule.domain}.{rule.path}": str(rule.rate) for rule in loaded.rules.rules}


BROKEN = [
    domain("edge", m="x", k=2),
    f"{domain('edge', m=1, k=2)}  - key: [",
    domain("edge", m=1, k=2, l=3),  # `l` is still in the other file
    b"\xff",
    "",
]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_key_that_was_moved_into_a_file_that_is_broken_holds_on(
    folder: Folder, broken: str | bytes
) -> None:
    folder.reload(a=domain("edge", k=1, l=1), b=domain("edge", m=1), c=domain("other", n=1))
    second = folder.reload(a=domain("edge", l=2), b=broken)
    whole = {"edge.k": "1/DAY", "edge.l": "2/DAY", "edge.m": "1/DAY", "other.n": "1/DAY"}
    assert held(second) == whole
    a, b = folder.path / "a.yaml", folder.path / "b.yaml"
    assert second.what_holds == (
        f"as before: {b}; gone, and in force until the errors are mended, limits of: {a}; the others hold"
    )
    assert held(folder.reload()) == whole
    last = folder.reload(b=domain("edge", m=1, k=4))
    assert held(last) == {**whole, "edge.k": "4/DAY"}
    assert (last.errors, last.gone) == ((), ())


@pytest.mark.parametrize("merge", [False, True])
def test_what_is_mended_holds_though_the_file_that_had_it_is_broken_by_then(
    tmp_path: Path,
    merge: bool,
) -> None:
    folder = Folder(tmp_path, merge=merge)
    moved = domain("edge", k=1)
    folder.reload(a=f"{domain('one', l=1)}---\n{moved}", b=domain("two", m=1), c=domain("three", n=1))
    folder.reload(a=domain("one", l=1), b=f"{domain('two', m=1)}---\n{domain('edge', k='x')}")
    last = folder.reload(a="domain: [", b=f"{domain('two', m=1)}---\n{domain('edge', k=2)}")
    assert held(last) == {"one.l": "1/DAY", "edge.k": "2/DAY", "two.m": "1/DAY", "three.n": "1/DAY"}
    assert [Path(finding.position.file).stem for finding in last.errors] == ["a"]


def test_a_key_that_was_removed_is_gone_though_another_file_of_the_domain_conflicts(folder: Folder) -> None:
    folder.reload(a=domain("edge", k=1, l=1), b=domain("edge", m=1))
    second = folder.reload(a=domain("edge", l=1), c=domain("edge", m=2))
    assert held(second) == {"edge.l": "1/DAY", "edge.m": "1/DAY"}
    assert second.left_out == (folder.path / "c.yaml",)


def test_what_a_file_says_anew_is_looked_at_though_one_of_its_keys_is_gone(folder: Folder) -> None:
    folder.reload(a=domain("edge", k=1, l=1), b=domain("edge", m=1))
    replaces = domain("edge", l=1).replace("unit: 1}", "unit: 1, replaces: [{name: none}]}")
    second = folder.reload(a=replaces, b=domain("edge", k="x", m=1))
    assert second.gone == (folder.path / "a.yaml",)
    assert [finding.message for finding in second.warnings] == ["no limit of this domain is called 'none'"]


FILES = "abc"
CONTENTS = st.none() | st.tuples(st.sets(st.sampled_from("klm")), st.booleans())
RELOADS = st.lists(st.fixed_dictionaries(dict.fromkeys(FILES, CONTENTS)), min_size=2, max_size=4)


@settings(max_examples=50)
@given(RELOADS)
def test_while_a_file_of_a_domain_is_broken_none_of_its_keys_is_lost(
    reloads: Sequence[Mapping[str, tuple[set[str], bool] | None]],
) -> None:
    with tempfile.TemporaryDirectory() as path:
        folder = Folder(Path(path))
        live: dict[str, str] = {}
        for turn, files in enumerate(reloads, 1):
            texts: dict[str, str | None] = dict.fromkeys(FILES)
            for file, content in files.items():
                if content is not None:
                    keys, is_broken = content
                    limits = {file: "x" if is_broken else turn, **dict.fromkeys(sorted(keys), turn)}
                    texts[file] = domain("edge", **limits)
            try:
                loaded = folder.reload(**texts)
            except InvalidConfigurationError:
                continue  # what was live serves on
            now = held(loaded)
            if any(content is not None and content[1] for content in files.values()):
                assert live.keys() <= now.keys()
            if not loaded.errors:
                whole = {key for file, content in files.items() if content for key in {file, *content[0]}}
                assert now == {f"edge.{key}": f"{turn}/DAY" for key in whole}
            live = now
