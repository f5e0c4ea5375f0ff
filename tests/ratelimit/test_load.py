"""Sets of limit files: each whole or not at all, and what holds while one of them is bad."""

from pathlib import Path
from textwrap import dedent

import pytest

from envoy_ratelimit.config import LoadedRules, load_rules
from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.rule import Charge
from envoy_ratelimit.core.rules import Defaults
from envoy_sidecar.config.findings import InvalidConfigurationError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, **files: str) -> LoadedRules:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(dedent(text).lstrip("\n"), "utf-8")
    return load_rules([folder])


def refused(folder: Path, **files: str) -> list[str]:
    """Return the findings, without the folder's name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        load(folder, **files)
    return [str(finding).removeprefix(f"{folder}/") for finding in caught.value.findings]


GOOD = "domain: good\ndescriptors:\n  - {key: k, rate_limit: {unit: day, requests_per_unit: 1}}\n"
CHANGED = GOOD.replace("per_unit: 1", "per_unit: 2")


def limits_of(loaded: LoadedRules) -> list[object]:
    return [rule["limit"] for rule in loaded.rules.describe()]


def test_a_bad_file_is_left_out_and_does_not_take_the_others_with_it(folder: Path) -> None:
    loaded = load(folder, a="domain: [", b=GOOD)
    assert limits_of(loaded) == ["1/DAY"]
    assert loaded.files == (folder / "b.yaml",)
    assert [finding.position.file for finding in loaded.errors] == [str(folder / "a.yaml")]
    assert loaded.findings == loaded.errors


def test_a_strict_load_takes_all_files_or_none(folder: Path) -> None:
    (folder / "a.yaml").write_text("domain: [", "utf-8")
    (folder / "b.yaml").write_text(GOOD, "utf-8")
    with pytest.raises(InvalidConfigurationError):
        load_rules([folder], strict=True)


def test_a_file_that_became_bad_is_as_it_was(folder: Path) -> None:
    first = load(folder, a=GOOD, b="domain: other")
    (folder / "a.yaml").write_text("domain: [", "utf-8")
    (folder / "b.yaml").write_text("domain: third", "utf-8")
    second = load_rules([folder], previous=first)
    assert limits_of(second) == ["1/DAY"]
    assert set(second.rules.domains) == {"good", "third"}
    assert [finding.position.line for finding in second.errors] == [1]
    third = load_rules([folder], previous=second)
    assert limits_of(third) == ["1/DAY"]
    (folder / "a.yaml").write_text(CHANGED, "utf-8")
    last = load_rules([folder], previous=third)
    assert limits_of(last) == ["2/DAY"]
    assert last.errors == ()


def test_a_file_that_was_removed_takes_its_limits_along(folder: Path) -> None:
    first = load(folder, a=GOOD, b="domain: other")
    (folder / "a.yaml").unlink()
    assert set(load_rules([folder], previous=first).rules.domains) == {"other"}


def test_what_cannot_be_read_any_more_is_as_it_was(folder: Path) -> None:
    first = load(folder, a=GOOD, b="domain: other")
    (folder / "a.yaml").unlink()
    kept = load_rules([folder / "a.yaml", folder], previous=first)
    assert limits_of(kept) == ["1/DAY"]
    assert "No such file" in kept.errors[0].message
    assert kept.what_holds == f"as before: {folder}/a.yaml; the others hold"


def test_a_file_that_was_removed_is_gone_though_all_others_of_its_folder_are_named_as_well(
    folder: Path,
) -> None:
    load(folder, a=GOOD, b="domain: other")
    paths = [folder / "a.yaml", folder]
    first = load_rules(paths)
    (folder / "b.yaml").unlink()
    second = load_rules(paths, previous=first)
    assert set(second.rules.domains) == {"good"}
    assert [str(finding) for finding in second.findings] == [
        f"{folder}:1:1: warning: all that is here was read already; name it once"
    ]


def test_what_was_in_a_folder_that_was_emptied_holds_on_and_that_is_said(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
    load(folder / "one", a=GOOD)
    load(folder / "two", b=named("other"))
    paths = [folder / "one", folder / "two"]
    first = load_rules(paths)
    (folder / "two" / "b.yaml").unlink()
    second = load_rules(paths, previous=first)
    assert held(second) == ["good.k 1/DAY", "other.k 1/DAY"]
    assert second.what_holds == f"as before: {folder}/two/b.yaml; the others hold"
    (finding,) = second.errors
    assert str(finding) == (
        f"{folder}/two:1:1: error: no limit file is in this folder any more; the limits that were in it stay in force; "
        "put the files back; or, if there are to be no limits, one that says `domain: none` and nothing else"
    )
    third = load_rules(paths, previous=second)
    assert held(third) == held(second)
    (folder / "two" / "none.yaml").write_text("domain: none", "utf-8")
    last = load_rules(paths, previous=third)
    assert held(last) == ["good.k 1/DAY"]
    assert last.errors == ()


def test_with_nothing_left_to_use_it_is_refused_whole(folder: Path) -> None:
    assert refused(folder, a="domain: 1.5", b="domain: 2.5")


def test_a_domain_may_not_be_in_two_files(folder: Path) -> None:
    loaded = load(folder, a="domain: same", b="domain: same")
    assert [str(finding).removeprefix(f"{folder}/") for finding in loaded.errors] == [
        (
            "b.yaml:1:9: error: the domain 'same' is defined twice (domain); "
            f"the other is at {folder}/a.yaml:1:9; write both in one"
        )
    ]
    assert loaded.files == (folder / "a.yaml",)


def test_a_domain_may_not_be_twice_in_a_file(folder: Path) -> None:
    (finding,) = refused(folder, a="domain: same\n---\ndomain: same")
    assert finding.startswith("a.yaml:3:9: error: the domain 'same' is defined twice")


def test_files_of_one_domain_are_merged_where_that_is_wanted(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD, "utf-8")
    (folder / "b.yaml").write_text(CHANGED.replace("key: k", "key: l"), "utf-8")
    (folder / "c.yaml").write_text(CHANGED, "utf-8")
    loaded = load_rules([folder], merge=True)
    assert [rule["path"] for rule in loaded.rules.describe()] == ["k", "l"]
    (finding,) = loaded.errors
    assert finding.message == f"'k' is in this domain at {folder}/a.yaml:1:9 as well"
    assert finding.position.file == str(folder / "c.yaml")


def named(name: str, key: str = "k", limit: str = "1") -> str:
    return (
        GOOD.replace("good", name)
        .replace("key: k", f"key: {key}")
        .replace("per_unit: 1", f"per_unit: {limit}")
    )


def held(loaded: LoadedRules) -> list[str]:
    return sorted(f"{rule.domain}.{rule.path} {rule.rate}" for rule in loaded.rules.rules)


def test_what_serves_is_not_displaced_by_a_file_whose_name_comes_first(folder: Path) -> None:
    first = load(folder, a=named("edge"), b=named("other"))
    (folder / "0.yaml").write_text(named("edge", "stolen"), "utf-8")
    second = load_rules([folder], previous=first)
    assert held(second) == ["edge.k 1/DAY", "other.k 1/DAY"]
    (finding,) = second.errors
    assert str(finding) == (
        f"{folder}/0.yaml:1:9: error: the domain 'edge' is defined twice (domain); "
        f"the other is at {folder}/a.yaml:1:9; write both in one"
    )
    assert second.what_holds == f"left out: {folder}/0.yaml; the others hold"
    # What has the domain may change it, and give it up.
    (folder / "a.yaml").write_text(named("edge", limit="7"), "utf-8")
    third = load_rules([folder], previous=second)
    assert held(third) == ["edge.k 7/DAY", "other.k 1/DAY"]
    (folder / "a.yaml").write_text(named("mesh"), "utf-8")
    last = load_rules([folder], previous=third)
    assert held(last) == ["edge.stolen 1/DAY", "mesh.k 1/DAY", "other.k 1/DAY"]
    assert last.errors == ()


def test_what_serves_is_not_displaced_in_a_merged_domain(folder: Path) -> None:
    load(folder, a=named("edge"), b=named("edge", "other"))
    first = load_rules([folder], merge=True)
    (folder / "0.yaml").write_text(named("edge", limit="99999"), "utf-8")
    second = load_rules([folder], merge=True, previous=first)
    assert held(second) == ["edge.k 1/DAY", "edge.other 1/DAY"]
    (finding,) = second.errors
    assert finding.position.file == str(folder / "0.yaml")
    assert second.left_out == (folder / "0.yaml",)


def test_a_file_that_takes_the_domain_of_another_is_as_before(folder: Path) -> None:
    first = load(folder, a=named("one"), b=named("two"), c=named("three"))
    (folder / "a.yaml").write_text(named("two", "stolen"), "utf-8")
    # Its domain is free only while `a` has the other one.
    (folder / "0.yaml").write_text(named("one", "stolen"), "utf-8")
    second = load_rules([folder], previous=first)
    assert held(second) == ["one.k 1/DAY", "three.k 1/DAY", "two.k 1/DAY"]
    assert [Path(finding.position.file).stem for finding in second.errors] == ["0", "a"]
    assert (second.as_before, second.left_out) == ((folder / "a.yaml",), (folder / "0.yaml",))


def test_limits_in_a_file_of_another_suffix_are_not_read_and_that_is_said(folder: Path) -> None:
    load(folder, a=GOOD)
    for name in ("limits", "more.conf"):
        (folder / name).write_text(named(name), "utf-8")
    aside = (".limits", "a.yaml~", "a.yaml.off", "limits~", "#limits#", "limits.bak", ".limits.swp")
    for name in aside:
        (folder / name).write_text(GOOD, "utf-8")
    (folder / "README.md").write_text(f"# Limits, each with a domain\n\n```yaml\n{GOOD}```\n", "utf-8")
    (folder / "binary").write_bytes(b"domain\xff")
    (folder / "..data").mkdir()
    (folder / "..data" / "limits").write_text(GOOD, "utf-8")
    loaded = load_rules([folder])
    assert held(loaded) == ["good.k 1/DAY"]
    assert [str(finding) for finding in loaded.warnings] == [
        f"{folder}/{name}:1:1: warning: is not read, though it holds limits; "
        "in a folder, limit files end in .json, .yaml, .yml: rename it"
        for name in ("limits", "more.conf")
    ]
    assert held(load_rules([folder / "limits"])) == ["limits.k 1/DAY"]


def test_files_may_exchange_their_domains(folder: Path) -> None:
    first = load(folder, a=named("one"), b=named("two"))
    load(folder, a=named("two", "new"), b=named("one", "new"))
    second = load_rules([folder], previous=first)
    assert held(second) == ["one.new 1/DAY", "two.new 1/DAY"]
    assert second.errors == ()


@pytest.mark.parametrize("bad", ["domain: [", "domain: edge\ndescriptors: 5\n", ""])
def test_a_file_that_was_renamed_and_broken_at_once_holds_on(folder: Path, bad: str) -> None:
    first = load(folder, a=named("edge"), b=named("other"))
    (folder / "a.yaml").unlink()
    (folder / "aa.yaml").write_text(bad, "utf-8")
    second = load_rules([folder], previous=first)
    assert held(second) == ["edge.k 1/DAY", "other.k 1/DAY"]
    assert second.what_holds == (
        f"gone, and in force until the errors are mended, limits of: {folder}/a.yaml; "
        f"left out: {folder}/aa.yaml; the others hold"
    )
    third = load_rules([folder], previous=second)
    assert held(third) == held(second)
    (folder / "aa.yaml").write_text(named("edge", limit="2"), "utf-8")
    last = load_rules([folder], previous=third)
    assert held(last) == ["edge.k 2/DAY", "other.k 1/DAY"]
    assert (last.errors, last.gone) == ((), ())


@pytest.mark.parametrize("moved", [named("edge", limit="x"), f"{named('edge')}  - key: ["])
def test_what_was_moved_to_another_file_that_is_broken_holds_on(folder: Path, moved: str) -> None:
    first = load(folder, a=named("edge"), b=named("other"), c=named("third"))
    (folder / "a.yaml").unlink()
    (folder / "b.yaml").write_text(f"{named('other', limit='2')}---\n{moved}", "utf-8")
    second = load_rules([folder], previous=first)
    assert held(second) == ["edge.k 1/DAY", "other.k 1/DAY", "third.k 1/DAY"]
    assert (second.as_before, second.gone) == ((folder / "b.yaml",), (folder / "a.yaml",))


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("moved", [named("edge", limit="x"), f"{named('edge')}  - key: ["])
def test_a_domain_that_was_moved_out_of_a_file_into_a_broken_one_holds_on(
    folder: Path, moved: str, *, merge: bool
) -> None:
    def reload(previous: LoadedRules | None = None, **files: str) -> LoadedRules:
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text, "utf-8")
        return load_rules([folder], merge=merge, previous=previous)

    first = reload(a=f"{named('one')}---\n{named('edge')}", b=named("other"), c=named("third"))
    second = reload(first, a=named("one", limit="2"), b=f"{named('other')}---\n{moved}")
    assert held(second) == ["edge.k 1/DAY", "one.k 2/DAY", "other.k 1/DAY", "third.k 1/DAY"]
    assert (second.as_before, second.gone) == ((folder / "b.yaml",), (folder / "a.yaml",))
    third = reload(second, a="domain: [")
    assert held(third) == held(second)
    last = reload(third, a=named("one"), b=f"{named('other')}---\n{named('edge', limit='3')}")
    assert held(last) == ["edge.k 3/DAY", "one.k 1/DAY", "other.k 1/DAY", "third.k 1/DAY"]
    assert (last.errors, last.gone) == ((), ())


def test_a_file_that_is_gone_does_not_hold_for_another_domains_error(folder: Path) -> None:
    first = load(folder, a=named("edge"), b=named("other"), c=named("third"))
    (folder / "a.yaml").unlink()
    (folder / "b.yaml").write_text("domain: [", "utf-8")
    (folder / "d.yaml").write_text("domain: fourth\ndescriptors: 5\n", "utf-8")
    second = load_rules([folder], previous=first)
    assert held(second) == ["other.k 1/DAY", "third.k 1/DAY"]
    assert second.gone == ()


def test_a_file_that_is_gone_holds_for_what_is_not_text_and_not_for_what_is_not_there(folder: Path) -> None:
    (folder / "in").mkdir()
    first = load(folder / "in", a=named("edge"), b=named("other"))
    (folder / "in" / "a.yaml").rename(folder / "a.yaml")
    assert held(load_rules([folder / "in", folder / "missing"], previous=first)) == ["other.k 1/DAY"]
    (folder / "in" / "aa.yaml").write_bytes(b"\xff")
    second = load_rules([folder / "in"], previous=first)
    assert held(second) == ["edge.k 1/DAY", "other.k 1/DAY"]
    assert second.left_out == (folder / "in" / "aa.yaml",)


def test_a_file_that_is_gone_gives_way_to_one_that_has_its_domain(folder: Path) -> None:
    first = load(folder, a=named("edge"), b=named("other"))
    (folder / "a.yaml").unlink()
    load(folder, bad="domain: [", good=named("edge", "new"))
    second = load_rules([folder], previous=first)
    assert held(second) == ["edge.new 1/DAY", "other.k 1/DAY"]
    assert second.gone == ()


def test_what_replaces_a_limit_of_another_file_of_the_domain_is_meant(folder: Path) -> None:
    replaces = "unit: 1, replaces: [{name: there}, {name: gone}]}"
    load(folder, a=named("d", "k").replace("unit: 1}", replaces))
    load(folder, b=named("d", "l").replace("unit: 1}", "unit: 1, name: there}"))
    (finding,) = load_rules([folder], merge=True).warnings
    assert str(finding).startswith(f"{folder}/a.yaml:3:")
    assert "no limit of this domain is called 'gone'" in finding.message


def test_what_replaces_a_limit_that_is_not_there_is_probably_not_meant(folder: Path) -> None:
    text = GOOD.replace("unit: 1}", "unit: 1, replaces: [{name: gone}]}")
    (finding,) = load(folder, l=text).warnings
    assert finding.message == "no limit of this domain is called 'gone'"


OURS = """
    domain: d
    descriptors:
      - {key: unsaid, rate_limit: {unit: day, requests_per_unit: 5}}
      - {key: burst, rate_limit: {unit: day, requests_per_unit: 5, burst: 2}}
      - {key: sliding, rate_limit: {unit: day, requests_per_unit: 5, algorithm: sliding_window, charge: each}}
      - {key: fixed, rate_limit: {unit: day, requests_per_unit: 5, algorithm: fixed_window}}
"""


def found(folder: Path, defaults: Defaults) -> dict[str, tuple[str, str, bool]]:
    loaded = load_rules([folder], defaults=defaults)
    return {
        rule.path: (rule.algorithm.value, rule.charge.value, rule.shadow_mode) for rule in loaded.rules.rules
    }


def test_defaults_are_for_limits_that_do_not_say_otherwise(folder: Path) -> None:
    load(folder, l=OURS)
    said = {
        "burst": ("token_bucket", "all_or_nothing", False),
        "sliding": ("sliding_window", "each", False),
        "fixed": ("fixed_window", "all_or_nothing", False),
    }
    drop_in = Defaults(algorithm=Algorithm.FIXED_WINDOW)
    assert found(folder, drop_in) == {"unsaid": ("fixed_window", "always", False), **said}
    assert found(folder, Defaults())["unsaid"] == ("token_bucket", "all_or_nothing", False)
    always = found(folder, Defaults(charge=Charge.ALWAYS))
    assert [charge for _, charge, _ in always.values()] == ["always", "always", "each", "always"]
    shadowed = found(folder, Defaults(shadow_mode=True))
    assert all(shadow for _, _, shadow in shadowed.values())
