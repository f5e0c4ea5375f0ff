"""Limits from files: the reference's YAML, and a finding for everything that would not hold as it was written."""

import json
from pathlib import Path
from textwrap import dedent

import pytest

from envoy_ratelimit.config import LoadedRules, load_rules
from envoy_sidecar.config.findings import InvalidConfigurationError

EXAMPLES = Path(__file__).parents[2] / "envoy-configs" / "examples" / "limits"

REFERENCE = """
    domain: mongo_cps
    descriptors:
      - key: database
        value: users
        rate_limit:
          unit: second
          requests_per_unit: 500
      - key: database
        value: default
        rate_limit: {unit: SECOND, requests_per_unit: 500}
      - key: remote_address
        rate_limit: {unit: Minute, requests_per_unit: 0}
        descriptors:
          - key: path
            value: /api/*/list
            shadow_mode: true
            rate_limit: {name: lists, unit: week, requests_per_unit: 4294967295}
      - key: status
        value: 404
        rate_limit: {unlimited: true}
      - {key: internal, value: true}
"""


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


def test_the_references_yaml_is_read(folder: Path) -> None:
    loaded = load(folder, limits=REFERENCE)
    assert [
        (rule["path"], rule["limit"], rule["shadow_mode"], rule["name"]) for rule in loaded.rules.describe()
    ] == [
        ("database_users", "500/SECOND", False, ""),
        ("database_default", "500/SECOND", False, ""),
        ("remote_address", "0/MINUTE", False, ""),
        ("remote_address.path_/api/*/list", "4294967295/WEEK", True, "lists"),
        ("status_404", "unlimited", False, ""),
    ]
    assert set(loaded.rules.domains) == {"mongo_cps"}
    assert ("internal", "true") in loaded.rules.domains["mongo_cps"].exact
    assert loaded.files == (folder / "limits.yaml",)
    assert loaded.warnings == ()


def test_the_shipped_examples_are_read() -> None:
    loaded = load_rules([EXAMPLES])
    assert loaded.rules.rules
    assert loaded.warnings == ()


def test_a_folder_is_read_with_all_below_it_and_a_file_only_once(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "b.json").write_text(json.dumps({"domain": "b"}))
    (folder / "a.yml").write_text("domain: a")
    (folder / ".hidden.yaml").write_text("nonsense")
    (folder / "README.md").write_text("nonsense")
    loaded = load_rules([folder / "a.yml", folder])
    assert loaded.files == (folder / "a.yml", folder / "below" / "b.json")
    assert set(loaded.rules.domains) == {"a", "b"}


def test_a_mounted_config_map_is_read_once(folder: Path) -> None:
    version = folder / "..2026_07_01"
    version.mkdir()
    (version / "limits.yaml").write_text("domain: a")
    (folder / "..data").symlink_to(version)
    (folder / "limits.yaml").symlink_to(folder / "..data" / "limits.yaml")
    assert load_rules([folder]).files == (folder / "limits.yaml",)


def test_several_documents_of_a_file_are_several_domains(folder: Path) -> None:
    assert set(load(folder, limits="domain: a\n---\ndomain: b\n").rules.domains) == {"a", "b"}


def one_descriptor(body: str) -> str:
    return f"domain: d\ndescriptors:\n  - key: k\n{body}"


def one_limit(limit: str) -> str:
    return one_descriptor(f"    rate_limit: {limit}\n")


BAD = {
    # the document
    "descriptors: []": "l.yaml:1:1: error: domain is missing; write `domain: …`",
    "domain: ''": "l.yaml:1:9: error: domain must not be empty (domain); write one",
    "domain:": "l.yaml:1:1: error: 'domain' has no value (domain); write one, or remove it",
    "domain: [a]": "l.yaml:1:9: error: must be text, is list (domain)",
    "- domain: a": "l.yaml:1:1: error: must be a mapping, is list; write it as `key: value`",
    "domain: 1.5": "l.yaml:1:9: error: must be text, is number (domain); put it in quotes",
    "": "l.yaml:1:1: error: this file holds no domain; write `domain: …`, or remove the file",
    "domain: a\nDomain: b": "l.yaml:2:1: error: unknown key 'Domain' (Domain); did you mean 'domain'?",
    "domain: a\nx: b": "l.yaml:2:1: error: unknown key 'x' (x); known here: descriptors, domain",
    "domain: a\ndomain: b": (
        "l.yaml:2:1: error: 'domain' is given twice (domain); the first is in line 1; a second one would be lost"
    ),
    # descriptors
    "domain: d\ndescriptors: {}": "l.yaml:2:14: error: must be a list, is mapping (descriptors); write it as a list: [...]",
    "domain: d\ndescriptors: [k]": "l.yaml:2:15: error: must be a mapping, is text (descriptors[0]); write it as `key: value`",
    "domain: d\ndescriptors:\n  - value: v": (
        "l.yaml:3:5: error: key is missing (descriptors[0]); write `key: …`"
    ),
    "domain: d\ndescriptors:\n  - key: ''": (
        "l.yaml:3:10: error: key must not be empty (descriptors[0].key); write one"
    ),
    one_descriptor("  - key: k"): (
        "l.yaml:4:5: error: key 'k' comes twice on this level (descriptors[1]); the first is in line 3; remove one"
    ),
    "domain: d\ndescriptors:\n  - &a {key: k}\n  - *a": (
        "l.yaml:3:5: error: key 'k' comes twice on this level (descriptors[1]); "
        "the first is descriptors[0]; remove one"
    ),
    one_descriptor("    value: v\n  - {key: k, value: v}"): (
        "l.yaml:5:5: error: key 'k' with value 'v' comes twice on this level (descriptors[1]); "
        "the first is in line 3; remove one"
    ),
    one_descriptor("    limit: {}"): (
        "l.yaml:4:5: error: unknown key 'limit' (descriptors[0].limit); did you mean 'rate_limit'?"
    ),
    one_descriptor("    value: 2e3"): (
        "l.yaml:4:12: error: must be text, is number (descriptors[0].value); put it in quotes"
    ),
    # limits
    one_limit(
        "5"
    ): "l.yaml:4:17: error: must be a mapping, is integer (descriptors[0].rate_limit); write it as `key: value`",
    one_limit("{requests_per_unit: 1}"): (
        "l.yaml:4:17: error: unit is missing (descriptors[0].rate_limit); "
        "write one of second, minute, hour, day, month, year, week"
    ),
    one_limit("{unit: fortnight, requests_per_unit: 1}"): (
        "l.yaml:4:24: error: unknown unit 'fortnight' (descriptors[0].rate_limit.unit); "
        "write one of second, minute, hour, day, month, year, week"
    ),
    one_limit("{unit: 5, requests_per_unit: 1}"): (
        "l.yaml:4:24: error: unknown unit '5' (descriptors[0].rate_limit.unit); "
        "write one of second, minute, hour, day, month, year, week"
    ),
    one_limit("{unit: day, requests_per_unit: 1.5}"): (
        "l.yaml:4:48: error: must be an integer, is number (descriptors[0].rate_limit.requests_per_unit); "
        "write a whole number from 0 to 4294967295"
    ),
    one_limit("{unit: day, requests_per_unit: '1'}"): (
        "l.yaml:4:48: error: must be an integer, is text (descriptors[0].rate_limit.requests_per_unit); "
        "write a whole number from 0 to 4294967295"
    ),
    one_limit("{unit: day, requests_per_unit: true}"): (
        "l.yaml:4:48: error: must be an integer, is boolean (descriptors[0].rate_limit.requests_per_unit); "
        "write a whole number from 0 to 4294967295"
    ),
    one_limit("{unit: day, requests_per_unit: -1}"): (
        "l.yaml:4:48: error: -1 is out of range (descriptors[0].rate_limit.requests_per_unit); "
        "write a whole number from 0 to 4294967295"
    ),
    one_limit("{unit: day, requests_per_unit: 4294967296}"): (
        "l.yaml:4:48: error: 4294967296 is out of range (descriptors[0].rate_limit.requests_per_unit); "
        "write a whole number from 0 to 4294967295"
    ),
    one_limit("{unlimited: true, unit: day}"): (
        "l.yaml:4:41: error: an unlimited rate_limit has no unit (descriptors[0].rate_limit.unit); "
        "remove `unit`, or `unlimited`"
    ),
    one_limit("{unit: , requests_per_unit: 1}"): (
        "l.yaml:4:18: error: 'unit' has no value (descriptors[0].rate_limit.unit); write one, or remove it"
    ),
    one_limit("{unit: day, requests_per_unit: 1, burst: }"): (
        "l.yaml:4:51: error: 'burst' has no value (descriptors[0].rate_limit.burst); write one, or remove it"
    ),
    # no YAML
    "domain: [": "l.yaml:1:10: error: while parsing a flow node expected the node content, but found '<stream end>'; check the indentation and the quotes up to here",
}


# What the reference lets pass without a word: the warning, and the limits, which are the reference's.
LENIENT = {
    "domain: d\ndescriptors:": (
        "2:1: warning: 'descriptors' has no value, as if it were not there (descriptors); write one, or remove it",
        [],
    ),
    one_descriptor("    value: ~\n    rate_limit: {unit: day, requests_per_unit: 1}"): (
        "4:5: warning: 'value' has no value, as if it were not there (descriptors[0].value); write one, or remove it",
        ["k 1/DAY"],
    ),
    one_descriptor("    rate_limit:"): (
        (
            "4:5: warning: 'rate_limit' has no value, as if it were not there (descriptors[0].rate_limit); "
            "write one, or remove it"
        ),
        [],
    ),
    one_limit("{unit: day}"): (
        (
            "4:17: warning: requests_per_unit is missing, so every request is refused (descriptors[0].rate_limit); "
            "write it, or 0 to say so"
        ),
        ["k 0/DAY"],
    ),
    one_limit("{unit: day, requests_per_unit: 1, shadow_mode: true}"): (
        (
            "4:51: warning: 'shadow_mode' does nothing here (descriptors[0].rate_limit.shadow_mode); "
            "known here: algorithm, burst, charge, name, on_store_failure, replaces, requests_per_unit, unit, "
            "unit_multiplier, unlimited"
        ),
        ["k 1/DAY"],
    ),
    one_descriptor("    shadow_mode: On\n    rate_limit: {unit: day, requests_per_unit: 1}"): (
        "4:18: warning: On is true to the reference, and a text to others (descriptors[0].shadow_mode); write true",
        ["k 1/DAY"],
    ),
}


@pytest.mark.parametrize(("text", "expected"), LENIENT.items())
def test_what_the_reference_lets_pass_is_a_warning_and_means_the_same(
    folder: Path, text: str, expected: tuple[str, list[str]]
) -> None:
    loaded = load(folder, l=text)
    warning, limits = expected
    assert [str(finding).removeprefix(f"{folder}/l.yaml:") for finding in loaded.warnings] == [warning]
    assert [f"{rule['path']} {rule['limit']}" for rule in loaded.rules.describe()] == limits
    assert all(rule.shadow_mode == ("On" in text) for rule in loaded.rules.rules)


def test_whole_numbers_are_texts_as_they_are_spelled(folder: Path) -> None:
    loaded = load(folder, l="domain: 0x10\ndescriptors: [{key: 007, value: 1_0}]")
    assert set(loaded.rules.domains) == {"0x10"}


@pytest.mark.parametrize(("text", "finding"), BAD.items())
def test_what_is_wrong_is_found_where_it_stands(folder: Path, text: str, finding: str) -> None:
    assert refused(folder, l=text) == [finding]


def test_all_findings_of_all_files_come_at_once(folder: Path) -> None:
    found = refused(
        folder,
        a="domain: a\ndescriptors:\n  - {value: x}\n  - {key: k, rate_limit: {unit: no, requests_per_unit: -1}}",
        b="domain: [",
        c="domain: c\nwhat: 1",
    )
    assert [line.split(" error:")[0] for line in found] == [
        "a.yaml:3:5:",
        "a.yaml:4:33:",
        "a.yaml:4:56:",
        "b.yaml:1:10:",
        "c.yaml:2:1:",
    ]


def test_what_cannot_be_read_is_an_error(folder: Path) -> None:
    (folder / "latin.yaml").write_bytes(b"domain: a\n# caf\xe9\n")
    (folder / "empty").mkdir()
    with pytest.raises(InvalidConfigurationError) as caught:
        load_rules([folder / "missing.yaml", folder / "empty", folder])
    assert [str(finding).removeprefix(f"{folder}/") for finding in caught.value.findings] == [
        (
            "missing.yaml:1:1: error: can't be read: No such file or directory; "
            "give a file or a folder that exists"
        ),
        (
            "empty:1:1: error: no limit file is in this folder; "
            "limit files end in .json, .yaml, .yml and do not begin with a dot"
        ),
        "latin.yaml:2:6: error: this is not UTF-8; save the file as UTF-8",
    ]


def test_what_is_probably_not_meant_is_a_warning(folder: Path) -> None:
    loaded = load(
        folder,
        l="domain: d\ndescriptors:\n"
        "  - {key: a, shadow_mode: true}\n"
        "  - {key: b, rate_limit: {unlimited: true, requests_per_unit: 5}}\n",
    )
    assert [str(finding).removeprefix(f"{folder}/") for finding in loaded.warnings] == [
        (
            "l.yaml:3:27: warning: does nothing without a rate_limit (descriptors[0].shadow_mode); "
            "write it beside the rate_limit it is for"
        ),
        (
            "l.yaml:4:63: warning: does nothing beside `unlimited` "
            "(descriptors[1].rate_limit.requests_per_unit); remove one of both"
        ),
    ]
    assert [rule["limit"] for rule in loaded.rules.describe()] == ["unlimited"]


def test_aliases_may_share_a_limit(folder: Path) -> None:
    loaded = load(
        folder,
        l="domain: d\ndescriptors:\n"
        "  - {key: a, rate_limit: &five {unit: hour, requests_per_unit: 5}}\n"
        "  - {key: b, rate_limit: *five}\n",
    )
    assert [rule["limit"] for rule in loaded.rules.describe()] == ["5/HOUR", "5/HOUR"]
