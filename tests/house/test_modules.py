"""The rules of the house that no linter holds."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAX_LINES = 400
MODULES = sorted(
    path
    for folder in ("services", "tests", "protos")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".lua", ".proto", ".js", ".css"} and not path.stem.endswith("_pb2")
)


def test_there_are_modules_to_hold() -> None:
    assert len(MODULES) > 100


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_long(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) <= MAX_LINES, "split it: one module has one job"
