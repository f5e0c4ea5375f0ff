"""YAML that knows its positions, and findings that name them."""

import json
import math
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_sidecar.config import documents, files
from envoy_sidecar.config.documents import MAX_DEPTH, Node, Scalar, read_documents
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, Position, as_json, how_many
from envoy_sidecar.config.strict import Reader


def only(text: str) -> Node:
    (document,) = read_documents(text, "f.yaml")
    return document


def finding(text: str) -> Finding:
    with pytest.raises(InvalidConfigurationError) as caught:
        read_documents(text, "f.yaml")
    return caught.value.findings[0]


def value(node: Node | None) -> Node:
    assert node is not None
    return node


def test_every_value_knows_its_line_and_column_and_its_path() -> None:
    root = only("a:\n  - b: 1\n    c: [x, yy]\n")
    (first,) = value(root.get("a")).sequence or ()
    c = value(first.get("c"))
    assert c.sequence is not None
    assert str(c.sequence[1].position) == "f.yaml:3:12"
    assert c.sequence[1].path == "a[0].c[1]"
    assert str(first.key_positions["c"]) == "f.yaml:3:5"
    assert root.plain() == {"a": [{"b": 1, "c": ["x", "yy"]}]}


@pytest.mark.parametrize(
    ("text", "scalar", "kind"),
    [
        ("1", 1, "integer"),
        ("010", 10, "integer"),
        ("08", 8, "integer"),
        ("0x1F", 31, "integer"),
        ("0o17", 15, "integer"),
        ("-5", -5, "integer"),
        ("1e3", 1000.0, "number"),
        ("-.inf", -math.inf, "number"),
        ("true", True, "boolean"),
        ("yes", "yes", "text"),
        ("12:30", "12:30", "text"),
        ('"1"', "1", "text"),
        ("~", None, "nothing"),
        ("!custom 5", "5", "text"),
        ("!!python/object:os.system x", "x", "text"),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, scalar: Scalar, kind: str) -> None:
    node = value(only(f"a: {text}").get("a"))
    assert (node.scalar, node.kind) == (scalar, kind)


def test_documents_are_separate_and_empty_ones_are_left_out() -> None:
    first, second = read_documents("a: 1\n---\n---\nb: 2\n", "f.yaml")
    assert (first.plain(), second.plain()) == ({"a": 1}, {"b": 2})
    assert second.position.line == 4
    assert read_documents("", "f.yaml") == []


def test_json_is_read_too() -> None:
    assert only('{"a": [1, null, "x"]}').plain() == {"a": [1, None, "x"]}


def test_a_repeated_key_is_reported_with_its_place_and_the_first_one_stays() -> None:
    root = only("a: 1\nb: 2\na: 3\n")
    assert root.plain() == {"a": 1, "b": 2}
    assert [(key, str(position)) for key, position in root.duplicates] == [("a", "f.yaml:3:1")]


def test_merged_keys_give_way_to_own_ones() -> None:
    root = only("base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n")
    assert value(root.get("own")).plain() == {"x": 1, "y": 3}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("a: [", "f.yaml:1:5"),
        ("a: 1\n b: 2\n", "f.yaml:2:3"),
        ("a: *nobody\n", "f.yaml:1:4"),
        ("? [a]\n: 1\n", "f.yaml:1:3"),
        ("a: " + "9" * 5000, "f.yaml:1:4"),
        ("a: \x00", "f.yaml:1:1"),
    ],
)
def test_what_is_not_yaml_is_a_finding_with_its_place(text: str, where: str) -> None:
    assert str(finding(text).position) == where


@pytest.mark.parametrize("text", ["[" * 800, "a: &a [*a]", "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2)])
def test_nesting_is_bounded(text: str) -> None:
    assert "nested deeper than 64 levels" in finding(text).message


@pytest.mark.parametrize("separator", ["", "---\n"])
def test_aliases_cannot_unfold_without_bound(monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    monkeypatch.setattr(documents, "MAX_NODES", 1000)
    if separator:
        text = separator.join(["a: [1, 2, 3, 4, 5, 6, 7, 8]\n"] * 200)
    else:
        text = "a0: &a0 [x, x, x, x]\n" + "".join(
            f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 4)}]\n" for i in range(1, 12)
        )
    assert "unfolds to more than 1000 values" in finding(text).message


@given(st.text(max_size=200))
def test_any_text_gives_documents_or_findings_with_a_place(text: str) -> None:
    findings: tuple[Finding, ...] = ()
    try:
        read_documents(text, "f.yaml")
    except InvalidConfigurationError as error:
        findings = error.findings
    assert all(found.position.line >= 1 and found.position.column >= 1 for found in findings)


def test_a_finding_says_where_what_and_what_would_be_right() -> None:
    found = only("a:\n  b: 1\n").finding("is wrong", "write c")
    assert str(found) == "f.yaml:1:1: error: is wrong; write c"
    nested = value(value(only("a:\n  b: 1\n").get("a")).get("b")).finding("is wrong")
    assert str(nested) == "f.yaml:2:6: error: is wrong (a.b)"


def test_findings_are_data_too() -> None:
    found = Finding(Position("f.yaml", 2, 6), "is wrong", "write c", "a.b", "warning")
    assert json.loads(as_json([found])) == [
        {
            "file": "f.yaml",
            "line": 2,
            "column": 6,
            "message": "is wrong",
            "hint": "write c",
            "path": "a.b",
            "severity": "warning",
        }
    ]


def test_many_sources_are_merged_in_linear_time_and_the_first_one_wins() -> None:
    count = 2000
    sources = "".join(f"b{i}: &b{i} {{k{i}: {i}, x: {i}}}\n" for i in range(count))
    listed = ", ".join(f"*b{i}" for i in range(count))
    started_s = time.process_time()
    plain = value(only(f"{sources}own: {{<<: [{listed}], k1: own}}\n").get("own")).plain()
    assert time.process_time() - started_s < 10
    assert isinstance(plain, dict)
    assert (plain["x"], plain["k0"], plain["k1"], len(plain)) == (0, 0, "own", count + 1)


def test_long_keys_above_many_values_take_no_memory() -> None:
    key = "k" * 50_000
    tracemalloc.start()
    root = only(f"? {key}\n: {{x: [{', '.join(['1'] * 5000)}]}}\n")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000_000
    (above,) = (root.mapping or {}).values()
    assert value(above.get("x")).path == f"{key[:100]}.x"


def test_aliases_repeat_no_more_than_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_REPEATED_NODES", 100)
    many = ", ".join(["x"] * 20)
    assert only(f"a: &a [{many}]\nb: [*a, *a]\n").kind == "mapping"
    assert (
        "aliases repeat more than 100 values" in finding(f"a: &a [{many}]\nb: [*a, *a, *a, *a, *a]\n").message
    )


@pytest.mark.parametrize("directive", ["%YAML 1.1", "%YAML 1.3", "%YAML 2.0"])
def test_another_version_of_yaml_is_refused(directive: str) -> None:
    found = finding(f"a: 1\n...\n{directive}\n---\nshadow_mode: yes\n")
    assert found.position.line == 3
    assert only("%YAML 1.2\n---\nshadow_mode: yes\n").plain() == {"shadow_mode": "yes"}


@pytest.mark.parametrize("text", ["yes", "on", "tRue", "1"])
def test_a_tagged_boolean_is_one_of_yaml_1_2(text: str) -> None:
    found = finding(f"a: !!bool {text}\n")
    assert (found.message, found.hint) == (f"{text!r} is not a boolean of YAML 1.2", "write true or false")
    assert only("a: !!bool TRUE\nb: !!bool 'False'\n").plain() == {"a": True, "b": False}


@pytest.mark.parametrize(("text", "hint"), [("010", "write 10"), ("00", "write 0"), ("+07", "write 7")])
def test_a_whole_number_with_a_zero_in_front_is_refused(text: str, hint: str) -> None:
    reader = Reader()
    reader.whole(value(only(f"a: {text}\n").get("a")), 100)
    assert [found.hint for found in reader.findings] == [hint]
    assert reader.whole(value(only("a: 0\n").get("a")), 100) == 0
    assert len(reader.findings) == 1


def test_findings_say_how_to_write_it_right() -> None:
    reader = Reader()
    node = only("a: 1\n")
    reader.fields(value(node.get("a")), ())
    reader.items(node)
    assert [found.hint for found in reader.findings] == [
        "write it as `key: value`",
        "write it as a list: [...]",
    ]
    assert finding("a: [").hint == "check the indentation and the quotes up to here"


def test_files_are_read_up_to_a_size_and_their_suffix_counts_in_any_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 10)
    (tmp_path / "deny.YAML").write_text("a: 1")
    (tmp_path / "large.yaml").write_text("a: 34567890")
    found = files.read_files([tmp_path, tmp_path / "none"], "policy", without_any="error")
    assert list(found.texts) == [tmp_path / "deny.YAML"]
    large, missing = found.findings
    assert (large.position.file, large.message) == (
        str(tmp_path / "large.yaml"),
        "is 11 bytes long, and at most 10 are read",
    )
    assert missing.hint == "give a file or a folder that exists"


def test_what_is_counted_is_said_in_english() -> None:
    said = [how_many(number, "policy", "policies") for number in (0, 1, 2)]
    assert said == ["0 policies", "1 policy", "2 policies"]
    assert (how_many(1, "rule"), how_many(2, "rule")) == ("1 rule", "2 rules")
