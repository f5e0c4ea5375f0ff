"""The generated classes in the tree are what `make protos` makes now."""

from pathlib import Path

from protos.generate import ROOT, generate


def test_generated_code_is_fresh(tmp_path: Path) -> None:
    for made in generate(tmp_path):
        in_tree = ROOT / "services" / "runtime" / made.relative_to(tmp_path)
        assert in_tree.read_bytes() == made.read_bytes(), f"run `make protos`: {in_tree} is stale"
