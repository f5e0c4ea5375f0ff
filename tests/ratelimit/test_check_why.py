"""`check` says why an answer has no limit, which Envoy's protocol does not tell apart: it asks the admin server."""

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from envoy_demo.ports import free_port
from envoy_ratelimit.cli import app
from envoy_ratelimit.commands import uncounted
from envoy_sidecar import cli
from tests.ratelimit.asking import Admin, ratelimit

LIMITS = """
domain: edge
descriptors:
  - key: user
    rate_limit: { unit: day, requests_per_unit: 2 }
  - key: strict
    rate_limit: { unit: day, requests_per_unit: 2, on_store_failure: deny }
  - key: free
    rate_limit: { unlimited: true }
  - key: base
    rate_limit: { unit: day, requests_per_unit: 2, name: base }
  - key: up
    rate_limit: { unlimited: true, replaces: [{ name: base }] }
"""
EVERYTHING = ("user=a", "+", "nobody=a", "+", "free=a", "+", "base=a", "+", "up=a")
TOLD = [
    "not counted: the store failed",
    "none: no limit matches",
    "unlimited",
    "none: another limit replaces it",
    "unlimited",
]
UNTOLD = ["none, or the store failed"] * 2 + ["unlimited", "none, or the store failed", "unlimited"]
Check = Callable[..., tuple[int, list[str], str]]


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """Give a service whose store is not there."""
    folder = tmp_path_factory.mktemp("why")
    (folder / "limits.yaml").write_text(LIMITS, "utf-8")
    store = f"redis://127.0.0.1:{free_port()}"
    with ratelimit(folder, "--config", str(folder / "limits.yaml"), "--store", store) as started:
        yield started


@pytest.fixture
def check(admin: Admin, capsys: pytest.CaptureFixture[str]) -> Check:
    def ask(*arguments: str, domain: str = "edge", listen: str = "") -> tuple[int, list[str], str]:
        where = ("--listen", listen or admin.listen, "--domain", domain, "--format", "json")
        with pytest.raises(SystemExit) as stopped:
            cli.run(app, ["check", *where, *arguments])
        shown = capsys.readouterr()
        assert isinstance(stopped.value.code, int)
        return stopped.value.code, [status["why"] for status in json.loads(shown.out)["statuses"]], shown.err

    return ask


def test_no_limit_a_replaced_one_and_a_store_that_failed_are_told_apart(check: Check, admin: Admin) -> None:
    code, why, said = check("--admin", admin.address, *EVERYTHING)
    assert (code, why) == (0, TOLD)
    assert said.startswith("the bucket store ")
    assert "requests get 'allow'" in said
    code, why, said = check("--admin", admin.address, "strict=a")
    assert (code, why) == (1, ["not counted: the store failed"])
    assert said.startswith("the bucket store ")


def test_a_domain_that_is_not_there_is_said(check: Check, admin: Admin) -> None:
    code, why, said = check("--admin", admin.address, "user=a", domain="egde")
    assert (code, why) == (0, ["none: there is no such domain"])
    assert said == "the domain 'egde' is not configured: edge\n"


def test_the_table_has_it_too(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["check", "--listen", admin.listen, "--admin", admin.address, "--domain", "edge", "nobody=a"]
    with pytest.raises(SystemExit):
        cli.run(app, arguments)
    assert "none: no limit matches" in capsys.readouterr().out


def test_the_default_admin_address_is_asked_if_it_is_that_services(
    check: Check, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uncounted, "DEFAULT_ADMIN", admin.address)
    assert check(*EVERYTHING)[1] == TOLD
    monkeypatch.setattr(uncounted, "_HERE", frozenset({"10.0.0.1"}))
    assert check(*EVERYTHING) == (0, UNTOLD, "")


def test_an_admin_server_of_another_service_or_none_tells_nothing(
    check: Check, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = admin.get("/config").json()
    others: list[object] = [
        {**config, "listen": "127.0.0.1:1"},
        {**config, "service": "tap"},
        {"workers": 2, "worker": "worker 1 does not answer"},
        [],
    ]
    for other in others:
        answer = httpx.Response(200, json=other, request=httpx.Request("GET", "http://admin/config"))
        with monkeypatch.context() as patched:
            patched.setattr(uncounted, "DEFAULT_ADMIN", admin.address)
            patched.setattr("envoy_sidecar.admin_client.get", lambda *_, answer=answer: answer)
            assert check(*EVERYTHING) == (0, UNTOLD, "")
    nobody = f"127.0.0.1:{free_port()}"
    monkeypatch.setattr(uncounted, "DEFAULT_ADMIN", nobody)
    assert check(*EVERYTHING) == (0, UNTOLD, "")
    code, why, said = check("--admin", nobody, *EVERYTHING)
    assert (code, why) == (0, UNTOLD)
    assert said.startswith(f"--admin {nobody} does not tell why: ")


def test_limits_are_asked_for_as_json_is(admin: Admin) -> None:
    url = f"http://{admin.address}/limits"
    user = {"entries": [{"key": "user", "value": "a"}]}
    body = {"domain": "edge", "descriptors": [user]}
    assert httpx.post(url, json=body).json() == {
        "domains": ["edge"],
        "limits": [{"path": "user", "limit": "2/DAY"}],
    }
    assert httpx.post(url, json={**body, "domain": ""}).status_code == 400
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, json=body, headers={"origin": "http://page"}).status_code == 403
