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
    first = load(folder, a=GOOD)
    (folder / "a.yaml").unlink()
    kept = load_rules([folder / "a.yaml", folder], previous=first)
    assert limits_of(kept) == ["1/DAY"]
    assert "No such file" in kept.errors[0].message


def test_with_nothing_left_to_use_it_is_refused_whole(folder: Path) -> None:
    assert refused(folder, a="domain: 1.5", b="domain: 2.5")


def test_a_domain_may_not_be_in_two_files(folder: Path) -> None:
    loaded = load(folder, a="domain: same", b="domain: same")
    assert [str(finding).removeprefix(f"{folder}/") for finding in loaded.errors] == [
        (
            "b.yaml:1:9: error: the domain 'same' is defined twice (domain); "
            f"the first is at {folder}/a.yaml:1:9; write both in one"
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


def test_what_replaces_a_limit_that_is_not_there_is_probably_not_meant(folder: Path) -> None:
    text = GOOD.replace("unit: 1}", "unit: 1, replaces: [{name: gone}]}")
    (finding,) = load(folder, l=text).warnings
    assert finding.message == "no limit of this domain is called 'gone'"
    assert load_rules([folder], merge=True).warnings == ()


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
