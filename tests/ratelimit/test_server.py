"""The service put together: its command line, its reload, what it shows."""

from pathlib import Path

import pytest

from envoy_ratelimit.cli import app
from envoy_ratelimit.server import RatelimitSidecar
from envoy_ratelimit.settings import RatelimitSettings
from envoy_sidecar import cli
from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitDescriptor, RateLimitRequest, RateLimitResponse
from envoy_sidecar.transport.port import Call

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: {{ unit: day, requests_per_unit: {allowed} }}
"""


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    file = tmp_path / "limits.yaml"
    file.write_text(LIMITS.format(allowed=1), "utf-8")
    return file


def is_over(sidecar: RatelimitSidecar) -> bool:
    entry = RateLimitDescriptor.Entry(key="user", value="alice")
    request = RateLimitRequest(domain="edge", descriptors=[RateLimitDescriptor(entries=[entry])])
    (answer,) = sidecar.services[0].unary["ShouldRateLimit"]([Call(request.SerializeToString(), None)])
    assert isinstance(answer, bytes)
    return RateLimitResponse.FromString(answer).overall_code == RateLimitResponse.OVER_LIMIT


def test_a_reload_keeps_the_buckets_of_limits_that_stay(limits: Path) -> None:
    sidecar = RatelimitSidecar(RatelimitSettings(config=(limits,)))
    assert [is_over(sidecar), is_over(sidecar)] == [False, True]
    assert sidecar.reload() == "limits: 1, domains: 1, files: 1"
    assert is_over(sidecar)
    limits.write_text(LIMITS.format(allowed=2), "utf-8")
    sidecar.reload()
    assert not is_over(sidecar)


def test_a_broken_reload_leaves_the_old_limits(limits: Path) -> None:
    sidecar = RatelimitSidecar(RatelimitSettings(config=(limits,)))
    limits.write_text("domain: [", "utf-8")
    with pytest.raises(InvalidConfigurationError):
        sidecar.reload()
    assert [is_over(sidecar), is_over(sidecar)] == [False, True]


def test_config_shows_the_store_without_its_password(limits: Path) -> None:
    settings = RatelimitSettings(config=(limits,), store="redis://user:hidden@127.0.0.1:1/0")
    shown = RatelimitSidecar(settings).describe()
    assert shown["store"] == "redis://***@127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--store", "http://user:hidden@store"], "--store"),
        (["--workers", "2"], "--workers"),
        (["--store-timeout", "0"], "--store-timeout"),
    ],
)
def test_options_that_cannot_be_served_are_named_and_keep_their_secrets(
    options: list[str], said: str, limits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.run(app, ["serve", "--config", str(limits), *options])
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert "hidden" not in shown
