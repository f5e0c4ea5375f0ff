"""The session API: who is let in, what is refused and how it is said."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_sidecar.transport.address import Address
from envoy_tap.access import read_tokens
from envoy_tap.api import Access, routes
from envoy_tap.core.policy import Policy
from envoy_tap.registry import Registry
from envoy_tap.slot.slot import Slot
from envoy_tap.store import SessionStore
from tests.tap.building import Clock, exchange

WHY = {"why": "INC-1"}
URL = "/api/v1/sessions"


def entry(name: str, role: str) -> str:
    sha256 = hashlib.sha256(f"token-of-{name}".encode()).hexdigest()
    return f"- {{name: {name}, role: {role}, sha256: {sha256}}}\n"


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(entry("vera", "viewer") + entry("olga", "operator") + entry("adam", "admin"), "utf-8")
    return path


@asynccontextmanager
async def api(
    data: Path, tokens: Path | None = None, admin: str = "127.0.0.1:9394", host: str = "127.0.0.1:9394"
) -> AsyncIterator[tuple[httpx.AsyncClient, Registry]]:
    clock = Clock()
    registry = Registry(Slot(clock), SessionStore(data), Policy(), b"key", clock=clock)
    access = Access(read_tokens(tokens), Address.parse(admin))
    app = Starlette(routes=list(routes(registry, list, access)))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client, registry


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer token-of-{name}"}


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("vera", [200, 403, 200, 403, 403]),
        ("olga", [200, 201, 200, 200, 403]),
        ("adam", [200, 201, 200, 200, 204]),
        ("mallory", [401] * 5),
    ],
)
async def test_each_role_may_do_what_it_may(
    tmp_path: Path, tokens: Path, name: str, statuses: list[int]
) -> None:
    async with api(tmp_path, tokens, admin="0.0.0.0:9394") as (client, registry):
        session_id = (await registry.start(WHY, "x")).session.id
        one = f"{URL}/{session_id}"
        asked = [("GET", URL), ("POST", URL), ("GET", one), ("POST", f"{one}/stop"), ("DELETE", one)]
        answers = [
            await client.request(
                method, url, json=WHY if url == URL and method == "POST" else None, headers=bearer(name)
            )
            for method, url in asked
        ]
    assert [answer.status_code for answer in answers] == statuses
    if statuses[1] == 201:
        assert answers[1].json()["who"] == name


async def test_without_tokens_it_is_open_on_loopback_only(tmp_path: Path) -> None:
    async with api(tmp_path, admin="0.0.0.0:9394") as (client, _):
        refused = await client.get(URL)
    assert (refused.status_code, refused.json()["error"]["hint"]) == (403, "give --tokens FILE")
    async with api(tmp_path) as (client, _):
        assert (await client.get(URL)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{"host": "evil.example"}, {"origin": "http://127.0.0.1:9394"}, {"sec-fetch-site": "same-origin"}],
)
async def test_without_tokens_no_web_page_gets_in(tmp_path: Path, headers: dict[str, str]) -> None:
    async with api(tmp_path) as (client, _):
        assert (await client.post(URL, json=WHY, headers=headers)).status_code == 403


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "application/json"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        ({"content": b" " * 70_000, "headers": {"content-type": "application/json"}}, 413, "longer than"),
        ({"content": b"[" * 60_000, "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        ({"json": {}}, 422, "needs a reason"),
        ({"json": {**WHY, "predicate": "path=x"}}, 422, "1:6"),
    ],
    ids=str,
)
async def test_what_cannot_be_started_is_said(
    tmp_path: Path, request_: dict[str, Any], status: int, said: str
) -> None:
    async with api(tmp_path) as (client, _):
        answer = await client.post(URL, **request_)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


@pytest.mark.parametrize("name", ["0123456789ab", "..%2f..%2fetc", "%00"])
async def test_there_is_no_other_session(tmp_path: Path, name: str) -> None:
    async with api(tmp_path) as (client, _):
        for method, url in [
            ("GET", name),
            ("DELETE", name),
            ("POST", f"{name}/stop"),
            ("GET", f"{name}/watch"),
        ]:
            assert (await client.request(method, f"{URL}/{url}")).status_code == 404


async def test_who_watches_sees_what_was_stored_and_then_the_end(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = (await registry.start({**WHY, "predicate": "first(1)"}, "x")).session.id
        admitted = registry.admit(exchange(tap_id=session_id))
        assert admitted is not None
        assert not registry.is_over(session_id), "it is not stored yet"
        with registry.watching(session_id) as watcher:
            registry.show([registry.redacted(admitted)])
            assert len(watcher.exchanges) == 1
        answer = await client.get(f"{URL}/{session_id}/watch")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("event: session\ndata: {")
    assert '"state":"exhausted"' in answer.text


async def test_who_watches_is_told_when_the_service_stops(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = (await registry.start(WHY, "x")).session.id
        watching = asyncio.create_task(client.get(f"{URL}/{session_id}/watch"))
        while session_id not in registry.watched:  # noqa: ASYNC110 - the other task of this very loop
            await asyncio.sleep(0)
        registry.close()
        answer = await watching
    assert answer.text.endswith("event: closing\ndata: {}\n\n")


async def test_at_most_so_many_are_active(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, _):
        statuses = [(await client.post(URL, json=WHY)).status_code for _ in range(17)]
    assert statuses == [201] * 16 + [422]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- {name: a, role: boss, sha256: x}", "'boss' is not a role"),
        ("- {name: a, role: admin, sha256: secret}", "not the SHA-256"),
        ("- {name: a, role: admin}", "has no sha256"),
        ("- {name: a, role: admin, token: x}", "unknown key 'token'"),
        ("- {name: 'a b', role: admin, sha256: x}", "'a b' is not a name"),
        ("[]", "empty list"),
        ("", "is empty"),
    ],
)
def test_a_tokens_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "tokens.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(InvalidConfigurationError) as refused:
        read_tokens(path)
    assert said in str(refused.value)
    with pytest.raises(InvalidConfigurationError, match="cannot be read"):
        read_tokens(tmp_path / "none")
