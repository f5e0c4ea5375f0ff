"""What the documentation shows is what the service reads."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from envoy_authz.config import load_policies
from envoy_authz.core import PolicySet
from envoy_authz.core.attributes import KEYS, name_of
from envoy_authz.core.expressions import VARIABLES

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS / "authz-policies.md"]
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXAMPLES = [
    pytest.param(example, id=f"{page.name} {number}")
    for page in PAGES
    for number, example in enumerate(BLOCK.findall(page.read_text("utf-8")))
    if "apiVersion" in example
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_loads_without_a_warning(tmp_path: Path, example: str) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(dedent(example), "utf-8")
    loaded = load_policies([file])
    assert loaded.policies
    assert loaded.warnings == ()
    PolicySet(loaded.policies)


def test_every_key_and_variable_is_in_the_reference() -> None:
    text = PAGES[0].read_text("utf-8")
    assert [key for key in KEYS if f"`{name_of(key)}" not in text] == []
    named = {name for name in VARIABLES if f"`{name}`" in text or f"`.{name.rpartition('.')[2]}`" in text}
    assert set(VARIABLES) - named == set()
