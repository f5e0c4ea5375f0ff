"""The published JSON Schema accepts what the loader accepts, but for what no schema can say."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from envoy_ratelimit.config.domains import read_part
from envoy_sidecar.config.documents import read_documents
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.config.strict import Reader
from tests.ratelimit.test_config import BAD, EXAMPLES, LENIENT, REFERENCE
from tests.ratelimit.test_config_keys import BAD_OF_OURS, EVERY_KEY

SCHEMA: dict[str, Any] = json.loads(
    (files("envoy_ratelimit.config") / "limits.schema.json").read_text("utf-8")
)
VALIDATOR = Draft202012Validator(SCHEMA)
BEYOND = ("comes twice", "is given twice", "replace itself", "than 100 years")
"""What a schema cannot say."""
SPELLED = ("value: 2e3",)
"""For a schema this is 2000, which is fine."""
LET_PASS = (
    "as if it were not there",
    "does nothing here",
    "to the reference, and a text",
    "is missing, so every",
)
"""What the reference lets pass is a warning, where a schema has errors alone."""


def loads(text: str) -> list[str]:
    """Return the errors of the loader, and what it lets pass as the reference does."""
    reader = Reader()
    try:
        for document in read_documents(text, "f"):
            read_part(document, reader)
    except InvalidConfigurationError as error:
        return [finding.message for finding in error.findings]
    return [
        finding.message
        for finding in reader.findings
        if finding.severity == "error" or any(said in finding.message for said in LET_PASS)
    ]


def plain(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


TEXT = st.sampled_from(["k", "v*", "", 5, True, 1.5, None, ["k"]])
FLAG = st.sampled_from([True, False, "true", 1])
NUMBER = st.sampled_from([0, 1, 10, 2**32 - 1, 2**32, -1, 1.5, "1", True])
LIMIT = st.fixed_dictionaries(
    {},
    optional={
        "unit": st.sampled_from(["day", "DAY", "Week", "unknown", "", 5, None]),
        "requests_per_unit": NUMBER,
        "unit_multiplier": st.sampled_from([1, 5, 0, "5"]),
        "unlimited": FLAG,
        "name": TEXT,
        "replaces": st.sampled_from(
            [[], [{"name": "x"}], [{}], [{"name": "x", "y": 1}], ["x"], {}, [{"name": ""}]]
        ),
        "algorithm": st.sampled_from(["token_bucket", "fixed_window", "sliding_window", "gcra", 1]),
        "burst": st.sampled_from([1, 5, 0, 2**32, True]),
        "charge": st.sampled_from(["all_or_nothing", "each", "always", "never"]),
        "on_store_failure": st.sampled_from(["allow", "deny", "local", "Allow"]),
        "other": st.just(1),
    },
)
DESCRIPTOR = st.fixed_dictionaries(
    {},
    optional={
        "key": TEXT,
        "value": TEXT,
        "rate_limit": LIMIT | st.sampled_from([5, None, []]),
        "shadow_mode": FLAG,
        "quota_mode": FLAG,
        "detailed_metric": FLAG,
        "value_to_metric": FLAG,
        "share_threshold": FLAG,
        "metadata": st.sampled_from([{}, {"a": [1.5, None]}, [], "x"]),
        "descriptors": st.sampled_from([[], [{"key": "k"}], [{"value": "v"}], {}, None]),
        "limit": st.just({}),
    },
)


@given(
    st.fixed_dictionaries(
        {},
        optional={"domain": TEXT, "descriptors": st.lists(DESCRIPTOR, max_size=2), "x": st.just(1)},
    )
)
def test_it_accepts_what_the_loader_accepts(document: dict[str, Any]) -> None:
    agree(json.dumps(document), document)


@given(LIMIT)
def test_it_accepts_the_limits_that_the_loader_accepts(limit: dict[str, Any]) -> None:
    document = {"domain": "d", "descriptors": [{"key": "k", "rate_limit": limit}]}
    agree(json.dumps(document), document)


def agree(text: str, document: Any) -> None:
    errors = loads(text)
    if not errors:
        assert VALIDATOR.is_valid(document)
    elif not all(any(said in error for said in BEYOND) for error in errors):
        assert not VALIDATOR.is_valid(document), errors


@pytest.mark.parametrize(
    "text", [text for text in (*BAD, *BAD_OF_OURS, *LENIENT) if not text.endswith("[") and text]
)
def test_it_refuses_what_the_loader_refuses(text: str) -> None:
    errors = loads(text)
    assert errors
    if not text.endswith(SPELLED) and not all(any(said in error for said in BEYOND) for error in errors):
        assert not VALIDATOR.is_valid(plain(text))


@pytest.mark.parametrize(
    "text", [REFERENCE, EVERY_KEY, *(path.read_text("utf-8") for path in Path(EXAMPLES).glob("*.yaml"))]
)
def test_it_accepts_the_examples(text: str) -> None:
    assert loads(text) == []
    assert VALIDATOR.is_valid(plain(text))


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_it_says_what_each_key_is_for_or_which_values_it_has() -> None:
    for name in ("descriptor", "rateLimit"):
        for key, schema in SCHEMA["$defs"][name]["properties"].items():
            assert schema.keys() & {"description", "enum", "$ref", "type"}, key
