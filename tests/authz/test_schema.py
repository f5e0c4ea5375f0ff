"""The published JSON Schema accepts what the service reads, and refuses what an editor can already know to be wrong."""

import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from envoy_authz.config.authentication import read_request_authentication
from envoy_authz.config.policies import OUR_API_VERSION, read_policy
from envoy_authz.core.decision import Reason
from envoy_sidecar.config.documents import read_documents
from tests.authz.commands.test_cases import BROKEN, CASES, POLICIES

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((files("envoy_authz.config") / "authz.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
PAGES = (
    "authz-policies.md",
    "authz-identity.md",
    "how-to/author-a-policy.md",
    "how-to/test-policies-in-ci.md",
)
SHOWN = [
    block
    for page in PAGES
    for block in re.findall(
        r"^```yaml\n(.*?)^```", (ROOT / "docs" / page).read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    if re.search("^kind: (AuthorizationPolicy|RequestAuthentication|PolicyTest)$", block, re.MULTILINE)
]
EXAMPLES = [path.read_text("utf-8") for path in (ROOT / "envoy-configs" / "examples" / "policies").iterdir()]


def documents(text: str) -> list[Any]:
    return [one for one in YAML(typ="safe", pure=True).load_all(text) if one is not None]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert set(Reason) == set(
        SCHEMA["$defs"]["policyTest"]["properties"]["cases"]["items"]["properties"]["expect"]["properties"][
            "reason"
        ]["enum"]
    )


@pytest.mark.parametrize("text", [*SHOWN, *EXAMPLES, POLICIES, CASES])
def test_it_accepts_what_is_shown_and_shipped(text: str) -> None:
    for document in documents(text):
        VALIDATOR.validate(document)


POLICY = """
apiVersion: envoy-sidecars.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: p}
spec: %s
"""
WRONG = [
    "{action: CUSTOM}",
    "{rule: []}",
    "{rules: []}",
    "{rules: [{from: []}]}",
    "{rules: [{from: [{source: {}}]}]}",
    "{rules: [{from: [{source: {principal: [x]}}]}]}",
    "{rules: [{from: [{source: {principals: []}}]}]}",
    "{rules: [{from: [{source: {principals: ['']}}]}]}",
    "{rules: [{to: [{operation: {ports: [80]}}]}]}",
    "{rules: [{to: [{operation: {methods: GET}}]}]}",
    "{rules: [{when: [{key: source.ip}]}]}",
    "{rules: [{when: [{values: [x]}]}]}",
    "{rules: [{when: [{cel: 'true', key: source.ip}]}]}",
    "{selector: {matchLabels: {}}}",
    "{mode: OFF}",
    "{action: DENY, rules: [{}], denyResponse: {status: 200}}",
    "{allowMutations: {setHeader: []}}",
]


@pytest.mark.parametrize("spec", WRONG)
def test_it_refuses_what_the_loader_refuses(spec: str) -> None:
    text = POLICY % spec
    assert read_policy(read_documents(text, "f")[0])[0] is None
    assert not VALIDATOR.is_valid(documents(text)[0])


@pytest.mark.parametrize(
    "rule",
    [
        "{}",
        "{issuer: ''}",
        "{issuer: i, jwksUri: ftp://x}",
        "{issuer: i, jwksUri: https://x, timeout: soon}",
        "{issuer: i, jwksUri: https://x, fromHeaders: [{prefix: x}]}",
        "{issuer: i, jwksUri: https://x, algorithms: [HS256]}",
        "{issuer: i, jwksUri: https://x, audience: [a]}",
    ],
)
def test_it_refuses_token_rules_that_the_loader_refuses(rule: str) -> None:
    text = (POLICY % f"{{jwtRules: [{rule}]}}").replace("AuthorizationPolicy", "RequestAuthentication")
    assert read_request_authentication(read_documents(text, "f")[0], (OUR_API_VERSION,))[0] is None
    assert not VALIDATOR.is_valid(documents(text)[0])


# What is no YAML, and that only one of two may be given, no schema says.
_SAID = [
    (before, after) for before, after, said in BROKEN if "check the" not in said and "beside" not in said
]


@pytest.mark.parametrize(("before", "after"), _SAID)
def test_it_refuses_cases_that_can_not_be_read(before: str, after: str) -> None:
    (document,) = documents(CASES.replace(before, after, 1))
    assert not VALIDATOR.is_valid(document)
