"""What the operators' commands say of a bucket that is not in the store, or is there under another name."""

from pathlib import Path
from uuid import uuid4

import pytest

from envoy_demo.valkey import Valkey
from envoy_ratelimit.cli import app
from envoy_ratelimit.config import load_rules
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.options import AlgorithmName, make_defaults
from envoy_ratelimit.stores import open_store
from envoy_sidecar import cli

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: year, requests_per_unit: 5 }
  - key: slow
    rate_limit: { unit: year, requests_per_unit: 5, algorithm: sliding_window }
  - key: banned
    rate_limit: { unit: year, requests_per_unit: 0 }
"""
NOWHERE = (
    "no such bucket was in the store: nothing is taken from it, or `serve` has other limits, or another "
)
CHANGES = [["get"], ["reset"], ["adjust", "--by", "1"], ["adjust", "--by", "-1"]]


class Used:
    """A service has taken three of the five hits of one value."""

    def __init__(self, limits: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._limits = limits
        self._url = url
        self._capsys = capsys
        self._value = str(uuid4())

    def serve(self, key: str, algorithm: AlgorithmName = "token_bucket", prefix: str = "") -> None:
        rules = load_rules([self._limits], defaults=make_defaults(algorithm, None)).rules
        store = open_store(self._url, timeout_s=5, key_prefix=prefix)
        Limiter(rules, store).decide([("edge", [([(key, self._value)], 3, None)], 0)])
        store.close()

    def run(self, *arguments: str) -> tuple[int, str, str]:
        where = ("--config", str(self._limits), "--domain", "edge", "--store", self._url)
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, [*(text.replace("=x", f"={self._value}") for text in arguments), *where])
        shown = self._capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, shown.out, shown.err.replace(self._value, "x")


@pytest.fixture
def used(tmp_path: Path, valkey: Valkey, capsys: pytest.CaptureFixture[str]) -> Used:
    limits = tmp_path / "limits.yaml"
    limits.write_text(LIMITS, "utf-8")
    return Used(limits, valkey.url, capsys)


@pytest.mark.parametrize("command", CHANGES)
def test_a_bucket_under_another_algorithms_name_is_a_finding_that_names_it(
    used: Used, command: list[str]
) -> None:
    used.serve("user", "fixed_window")
    code, _, said = used.run(*command, "user=x")
    assert code == 1
    assert said == (
        "user=x: no such bucket was in the store, but one of fixed_window: is --default-algorithm fixed_window "
        "missing, as `serve` has it?\n"
    )
    code, shown, said = used.run("get", "--default-algorithm", "fixed_window", "user=x")
    assert (code, "2 of 5" in shown, said) == (0, True, "")


@pytest.mark.parametrize("command", CHANGES)
def test_a_bucket_that_is_nowhere_is_said_and_no_finding(used: Used, command: list[str]) -> None:
    used.serve("user", prefix="mesh:")
    code, _, said = used.run(*command, "user=x")
    assert code == 0
    assert said.startswith(f"user=x: {NOWHERE}")
    assert "--store-key-prefix" in said
    code, shown, said = used.run("get", "--store-key-prefix", "mesh:", "user=x")
    assert (code, "2 of 5" in shown, said) == (0, True, "")


def test_a_bucket_that_is_there_a_ban_and_what_has_none_are_not_said_to_be_absent(used: Used) -> None:
    used.serve("slow", "fixed_window")
    code, shown, said = used.run("reset", "slow=x", "+", "banned=x")
    assert (code, "5 of 5" in shown, said) == (0, True, "")
    assert used.run("get", "nobody=x")[2] == ""


def test_explain_says_it_too(used: Used) -> None:
    used.serve("user", "fixed_window")
    code, shown, said = used.run("explain", "user=x")
    assert (code, "5 of 5 left" in shown) == (0, True)
    assert "but one of fixed_window" in said
    assert used.run("explain", "--default-algorithm", "fixed_window", "user=x")[2] == ""
