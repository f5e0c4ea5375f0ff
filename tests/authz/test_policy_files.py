"""Folders of policies: which files count, and that a set is read whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envoy_authz.config import LoadedPolicies, load_policies
from envoy_sidecar.config.findings import InvalidConfigurationError

EXAMPLES = Path(__file__).parents[2] / "envoy-configs" / "examples" / "policies"


def policy(name: str, namespace: str = "shop") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{}}\n"
    )


def names(loaded: LoadedPolicies) -> list[str]:
    return [policy.full_name for policy in loaded.policies]


def problems(*paths: Path) -> list[str]:
    with pytest.raises(InvalidConfigurationError) as caught:
        load_policies(paths)
    return list(map(str, caught.value.findings))


def test_the_shipped_examples_load_clean() -> None:
    loaded = load_policies([EXAMPLES])
    assert len(loaded.policies) >= len(loaded.files) == len(list(EXAMPLES.iterdir())) > 0
    assert loaded.warnings == ()


def test_policies_come_in_the_order_of_paths_names_and_documents(tmp_path: Path) -> None:
    (tmp_path / "folder" / "below").mkdir(parents=True)
    (tmp_path / "folder" / "z.yml").write_text(policy("z"))
    (tmp_path / "folder" / "b.yaml").write_text(f"---\n{policy('b1')}---\n# empty\n---\n{policy('b2')}...\n")
    (tmp_path / "folder" / "below" / "c.json").write_text(
        '{"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": {"name": "c"}, "spec": {}}'
    )
    named = tmp_path / "named.txt"
    named.write_text("\ufeff" + policy("named"))
    loaded = load_policies([named, tmp_path / "folder"])
    assert names(loaded) == ["shop/named", "shop/b1", "shop/b2", "c", "shop/z"]
    assert loaded.files == (
        named,
        *(tmp_path / "folder" / name for name in ("b.yaml", "below/c.json", "z.yml")),
    )


def test_other_files_and_names_with_a_dot_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("a"))
    (tmp_path / "README.md").write_bytes(b"\xff not for us")
    (tmp_path / ".a.yaml.swp").write_bytes(b"\xff")
    (tmp_path / ".hidden.yaml").write_text("[")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "b.yaml").write_text("[")
    (tmp_path / ".#a.yaml").symlink_to("somebody@host.4711")
    loaded = load_policies([tmp_path])
    assert names(loaded) == ["shop/a"]
    assert loaded.warnings == ()


def test_a_file_reached_twice_is_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("a"))
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    loaded = load_policies([tmp_path / "a.yaml", tmp_path])
    assert names(loaded) == ["shop/a"]
    assert [finding.message for finding in loaded.warnings] == ["all that is here was read already"]


def test_a_mounted_config_map_is_read_through_its_links_once_a_version(tmp_path: Path) -> None:
    for version, name in (("..2026_1", "old"), ("..2026_2", "new")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "policy.yaml").write_text(policy(name))
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    assert names(load_policies([tmp_path])) == ["shop/old"]
    (tmp_path / "..tmp").symlink_to("..2026_2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    loaded = load_policies([tmp_path])
    assert names(loaded) == ["shop/new"]
    assert loaded.files == (tmp_path / "policy.yaml",)


def test_links_that_run_in_circles_end(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "p.yaml").write_text(policy("p"))
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "same").symlink_to(".", target_is_directory=True)
    assert names(load_policies([tmp_path])) == ["shop/p"]


@pytest.mark.parametrize("name", ["team-a", "a.yaml"])
@pytest.mark.parametrize("target", ["missing", "a.yaml", "team-a"])
def test_a_link_to_nothing_is_an_error_since_a_denial_may_be_missing(
    tmp_path: Path, name: str, target: str
) -> None:
    (tmp_path / "b.yaml").write_text(policy("b"))
    (tmp_path / name).symlink_to(target)
    (found,) = problems(tmp_path)
    assert found.startswith(f"{tmp_path / name}:1:1: error: can't be read: ")


def test_a_path_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    (found,) = problems(missing)
    assert found.startswith(f"{missing}:1:1: error: can't be read: No such file or directory")


@pytest.mark.parametrize("method", [Path.stat, Path.iterdir, Path.read_bytes])
def test_what_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Callable[[Path], object]
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "a.yaml").write_text(policy("a"))

    def refusing(path: Path) -> object:
        if path.is_relative_to(locked):
            raise PermissionError(13, "Permission denied")
        return method(path)

    monkeypatch.setattr(Path, method.__name__, refusing)
    (found,) = problems(tmp_path)
    assert found.startswith(str(locked))
    assert found.endswith(":1:1: error: can't be read: Permission denied")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    assert problems(tmp_path) == [
        f"{tmp_path / 'a.yaml'}:1:1: error: is neither a file nor a folder; give a file or a folder of files"
    ]


def test_a_folder_and_a_file_without_policies_are_warnings(tmp_path: Path) -> None:
    empty, blank = tmp_path / "empty", tmp_path / "blank.yaml"
    empty.mkdir()
    blank.write_text("# nothing yet\n---\n")
    loaded = load_policies([empty, blank])
    assert loaded.policies == ()
    assert list(map(str, loaded.warnings)) == [
        f"{blank}:1:1: warning: this file holds no policy; remove the file, or write the policies that it is to hold",
        (
            f"{empty}:1:1: warning: no policy file is in this folder; "
            "policy files end in .json, .yaml, .yml and do not begin with a dot"
        ),
    ]


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [(b"\xff", 1, 1), (b"a: b\nc: \xc3\xa9\xe9", 2, 5), (b"\xef\xbb\xbfa\xff", 1, 2), (b"a\xc3", 1, 2)],
)
def test_what_is_not_utf_8_is_refused_where_it_begins(
    tmp_path: Path, content: bytes, line: int, column: int
) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(content)
    assert problems(file) == [f"{file}:{line}:{column}: error: this is not UTF-8; save the file as UTF-8"]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a: [b\n", 2, 1),
        ("a: b: c", 1, 5),
        ("a: *b", 1, 4),
        (policy("a") + "---\na: 'b", 6, 6),
        ("a\x07", 1, 1),
        ("[" * 800, 1, 1),
        ("&a [*a]", 1, 1),
        ("? [a]\n: b", 1, 3),
    ],
)
def test_what_is_not_yaml_is_refused_where_it_breaks(
    tmp_path: Path, text: str, line: int, column: int
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    (found,) = problems(file)
    assert found.startswith(f"{file}:{line}:{column}: error: ")


def test_a_name_may_stand_once_in_a_namespace(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(policy("x") + "---\n" + policy("x", "other"))
    (tmp_path / "b.yaml").write_text(policy("x"))
    assert problems(tmp_path) == [
        (
            f"{tmp_path / 'b.yaml'}:3:18: error: policy shop/x is defined twice (metadata.name); "
            f"the first is at {tmp_path / 'a.yaml'}:3:18; rename or remove one"
        )
    ]


def test_all_findings_of_all_files_come_at_once_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        policy("a").replace(
            "spec: {}", "spec:\n  ruls: []\n  rules:\n    - when: []\n      to: [{operation: {paths: [a]}}]"
        )
    )
    (tmp_path / "b.yaml").write_text("[")
    (tmp_path / "c.yaml").write_bytes(b"\xff")
    (tmp_path / "d.yaml").write_text(policy("d") + "---\nkind: Secret\n---\n" + policy("a"))
    (tmp_path / "e.yaml").write_text(policy("e").replace("{}", "{action: DENY, rules: [{}]}"))
    assert [finding.removeprefix(f"{tmp_path}/").partition(";")[0] for finding in problems(tmp_path)] == [
        "a.yaml:5:3: error: unknown key 'ruls' (spec.ruls)",
        "a.yaml:7:13: error: is an empty list (spec.rules[0].when)",
        "a.yaml:8:33: error: 'a' does not begin with `/`, as every path does (spec.rules[0].to[0].operation.paths[0])",
        "b.yaml:1:2: error: while parsing a flow node expected the node content, but found '<stream end>'",
        "c.yaml:1:1: error: this is not UTF-8",
        "d.yaml:6:7: error: kind 'Secret' is not supported (kind)",
        "d.yaml:10:18: error: policy shop/a is defined twice (metadata.name)",
        "e.yaml:4:30: warning: this rule denies every request (spec.rules[0])",
    ]
