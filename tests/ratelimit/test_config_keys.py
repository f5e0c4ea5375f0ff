"""The keys that came later to the reference, and ours: what they may hold, and what they come to."""

from pathlib import Path

import pytest

from tests.ratelimit.test_config import load, one_descriptor, one_limit, refused


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


COUNTED = "unit: day, requests_per_unit: 1"
BAD_OF_OURS = {
    one_limit(f"{{{COUNTED}, algorithm: leaky}}"): (
        "4:62: error: 'leaky' is not known here (descriptors[0].rate_limit.algorithm); "
        "write one of token_bucket, fixed_window, sliding_window"
    ),
    one_limit(f"{{{COUNTED}, charge: 2}}"): (
        "4:59: error: must be text, is integer (descriptors[0].rate_limit.charge); put it in quotes"
    ),
    one_limit(f"{{{COUNTED}, on_store_failure: Deny}}"): (
        "4:69: error: 'Deny' is not known here (descriptors[0].rate_limit.on_store_failure); "
        "write one of allow, deny, local"
    ),
    one_limit(f"{{{COUNTED}, burst: 0}}"): (
        "4:58: error: 0 is out of range (descriptors[0].rate_limit.burst); "
        "write a whole number from 1 to 4294967295"
    ),
    one_limit(f"{{{COUNTED}, unit_multiplier: 0}}"): (
        "4:68: error: 0 is out of range (descriptors[0].rate_limit.unit_multiplier); "
        "write a whole number from 1 to 4294967295"
    ),
    one_limit("{unit: year, unit_multiplier: 101, requests_per_unit: 1}"): (
        "4:47: error: the limit is for more than 100 years (descriptors[0].rate_limit.unit_multiplier); "
        "write a smaller unit_multiplier"
    ),
    one_limit(f"{{{COUNTED}, burst: 40000}}"): (
        "4:58: error: such a bucket takes more than 100 years to fill (descriptors[0].rate_limit.burst); "
        "write a smaller number"
    ),
    one_limit(f"{{{COUNTED}, burst: 2, algorithm: fixed_window}}"): (
        "4:58: error: a fixed_window has no burst (descriptors[0].rate_limit.burst); "
        "remove it, or write `algorithm: token_bucket`"
    ),
    one_limit(f"{{{COUNTED}, replaces: [x]}}"): (
        "4:62: error: must be a mapping, is text (descriptors[0].rate_limit.replaces[0]); write it as `key: value`"
    ),
    one_limit(f"{{{COUNTED}, replaces: [{{name: ''}}]}}"): (
        "4:69: error: name must not be empty (descriptors[0].rate_limit.replaces[0].name); write one"
    ),
    one_limit(f"{{{COUNTED}, replaces: [{{}}]}}"): (
        "4:62: error: name is missing (descriptors[0].rate_limit.replaces[0]); write `name: …`"
    ),
    one_limit(f"{{{COUNTED}, name: a, replaces: [{{name: a}}]}}"): (
        "4:78: error: a limit cannot replace itself (descriptors[0].rate_limit.replaces[0].name); "
        "write the name of another one"
    ),
    one_descriptor("    value: plain\n    share_threshold: true"): (
        "5:22: error: only the values of a pattern can share a limit (descriptors[0].share_threshold); "
        "write a value with `*`, or remove it"
    ),
    one_descriptor(f"    metadata: [a]\n    rate_limit: {{{COUNTED}}}"): (
        "4:15: error: must be a mapping, is list (descriptors[0].metadata); write it as `key: value`"
    ),
}


@pytest.mark.parametrize(("text", "finding"), BAD_OF_OURS.items())
def test_what_is_wrong_with_the_newer_keys_is_found(folder: Path, text: str, finding: str) -> None:
    assert refused(folder, l=text) == [f"l.yaml:{finding}"]


EVERY_KEY = """
    domain: d
    descriptors:
      - key: a
        value: x*
        share_threshold: true
        detailed_metric: true
        metadata: {tier: gold, weights: [1, 2.5, null, true]}
        rate_limit:
          unit: hour
          unit_multiplier: 6
          requests_per_unit: 100
          burst: 20
          algorithm: token_bucket
          charge: always
          on_store_failure: local
          name: mine
          replaces: [{name: other}]
      - key: b
        quota_mode: true
        rate_limit: {unit: day, requests_per_unit: 5, algorithm: sliding_window, charge: each, name: other}
      - key: c
        value_to_metric: true
        descriptors:
          - {key: d, rate_limit: {unit: day, requests_per_unit: 5, algorithm: fixed_window}}
"""


def test_every_key_is_read(folder: Path) -> None:
    loaded = load(folder, l=EVERY_KEY)
    assert loaded.findings == ()
    assert loaded.rules.describe() == [
        {
            "domain": "d",
            "path": "a_x*",
            "name": "mine",
            "limit": "100/6xHOUR",
            "shadow_mode": False,
            "burst": 20,
            "charge": "always",
            "replaces": ["other"],
            "on_store_failure": "local",
            "metadata": {"tier": "gold", "weights": [1, 2.5, None, True]},
        },
        {
            "domain": "d",
            "path": "b",
            "name": "other",
            "limit": "5/DAY",
            "shadow_mode": False,
            "algorithm": "sliding_window",
            "charge": "each",
            "quota_mode": True,
        },
        {
            "domain": "d",
            "path": "c.d",
            "name": "",
            "limit": "5/DAY",
            "shadow_mode": False,
            "algorithm": "fixed_window",
        },
    ]
    assert [rule.labelled for rule in loaded.rules.rules] == [(), (), (0,)]
