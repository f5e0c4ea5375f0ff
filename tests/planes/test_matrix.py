"""The versions of Envoy that are said to be tested, and what is run on them."""

import re
from collections.abc import Iterator
from pathlib import Path

from envoy_sidecar.doctor.examine import OLDEST
from tests.e2e import newer
from tests.matrix import __main__ as matrix

ENVOY = "envoy_demo.envoy"
SAID = (matrix.ROOT / "docs" / "control-planes.md").read_text("utf-8").partition("## Versions of Envoy")[2]
# The demo shows what tests/e2e holds, and the console is about a browser.
LEFT_OUT = ("tests.demo.", "tests.tap.console.")


def modules() -> Iterator[tuple[str, str]]:
    for file in (matrix.ROOT / "tests").rglob("*.py"):
        yield ".".join(file.relative_to(matrix.ROOT).with_suffix("").parts), file.read_text("utf-8")


def of_an_envoy() -> Iterator[Path]:
    """Yield the tests that import what starts an Envoy, by whatever way."""
    sources = dict(modules())
    reached, found = set[str](), {ENVOY}
    while found != reached:
        reached = set(found)
        imported = re.compile(rf"^from (?:{'|'.join(map(re.escape, reached))}) import", re.MULTILINE)
        found |= {name for name, source in sources.items() if imported.search(source)}
    for name in found - {ENVOY}:
        if name.rpartition(".")[2].startswith("test_") and not name.startswith(LEFT_OUT):
            yield Path(*name.split(".")).with_suffix(".py")


def test_the_oldest_envoy_of_the_matrix_is_the_oldest_that_the_doctor_takes_and_ci_runs() -> None:
    oldest = list(matrix.locked())[-1]
    assert oldest == ".".join(map(str, OLDEST))
    last = (matrix.ROOT / ".ci" / "run").read_text("utf-8").splitlines()[-1]
    assert last == f"make matrix ENVOY={oldest}", "all of it"


def test_every_version_is_held_to_a_hash_and_named_in_the_docs() -> None:
    for minor, requirement in matrix.locked().items():
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", requirement)
        assert f"| {minor} |" in SAID


def test_what_an_older_envoy_lacks_is_told_to_users_in_the_words_of_the_test_that_is_skipped() -> None:
    for each in newer.ALL:
        assert f"| {each.minor} | {each.fact}" in SAID


def test_every_test_that_starts_an_envoy_is_in_the_matrix() -> None:
    tests = [Path(each) for each in matrix.TESTS]
    assert all((matrix.ROOT / each).exists() for each in tests)
    left_out = [
        file for file in of_an_envoy() if not any(file == each or each in file.parents for each in tests)
    ]
    assert not left_out
