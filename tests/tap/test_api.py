"""The session API: who is let in, what is refused and how it is said."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from envoy_sidecar.config.findings import InvalidConfigurationError
from envoy_tap import archive, watching
from envoy_tap.access.tokens import read_tokens
from envoy_tap.core.exchange import Message
from tests.tap.api import NODE, URL, WHY, api, bearer, captured, entry, on, store_exchanges
from tests.tap.building import exchange


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(entry("vera", "viewer") + entry("olga", "operator") + entry("adam", "admin"), "utf-8")
    return path


async def test_half_a_character_costs_no_answer(tmp_path: Path) -> None:
    asked, headers = {"predicate": "request.json[\ud800] exists"}, {"content-type": "application/json"}
    hostile = Message(((":method", b"POST"), (":path", b"/")), b'{"a\\ud800": {"password": "x"}}')
    async with api(tmp_path) as (client, registry):
        for url, body, status in (("/api/v1/predicate", asked, 200), (URL, {**WHY, **asked}, 201)):
            answer = await client.post(url, content=json.dumps(body), headers=headers)
            assert answer.status_code == status
        assert len((await client.get(URL)).json()["sessions"]) == 1
        session_id = await captured(registry, exchange(hostile))
        found = (await client.get(f"{URL}/{session_id}/exchanges/1")).json()
    assert found["redactions"][0]["where"] == "request body a\ud800.password"


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
    assert (refused.status_code, refused.json()["error"]["hint"]) == (403, "give --tokens FILE or --jwt FILE")
    async with api(tmp_path) as (client, _):
        assert (await client.get(URL)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:9394"},
    ],
    ids=str,
)
async def test_without_tokens_no_web_page_gets_in_but_our_own(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    own = {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:9394"}
    async with api(tmp_path) as (client, _):
        assert (await client.post(URL, json=WHY, headers=headers)).status_code == 403
        assert (await client.post(URL, json=WHY, headers=own)).status_code == 201


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


@pytest.mark.parametrize("name", ["0123456789ab", "..%2f..%2fetc", "%00", "0123456789AB", "\u0660" * 12])
async def test_there_is_no_other_session(tmp_path: Path, name: str) -> None:
    async with api(tmp_path) as (client, _):
        for method, url in [
            ("GET", name),
            ("DELETE", name),
            ("POST", f"{name}/stop"),
            ("GET", f"{name}/watch"),
            ("GET", f"{name}/exchanges"),
            ("GET", f"{name}/exchanges/1"),
        ]:
            assert (await client.request(method, f"{URL}/{url}")).status_code == 404


@pytest.mark.parametrize("seq", ["0", "2", "-1", "1e0", "9" * 30, "\u0661"])
async def test_there_is_no_other_exchange(tmp_path: Path, seq: str) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, exchange())
        answer = await client.get(f"{URL}/{session_id}/exchanges/{seq}")
    assert (answer.status_code, answer.json()["error"]["message"]) == (404, "there is no such exchange")


async def test_exchanges_are_listed_and_shown_by_their_number(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"), on(b"/b", b"503"), on(b"/c"))
        url = f"{URL}/{session_id}/exchanges"

        async def listed(query: str) -> tuple[list[str], int | None]:
            found = (await client.get(url + query)).json()
            assert found["last"] == 3
            return [each["path"] for each in found["exchanges"]], found["next"]

        assert await listed("") == (["/a", "/b", "/c"], None)
        assert await listed("?after=1&limit=1") == (["/b"], 2)
        assert await listed("?before=3&limit=1") == (["/b"], 2)
        assert await listed("?before=3") == (["/a", "/b"], None)
        assert await listed("?after=3") == ([], None)
        assert await listed("?filter=status%3D5xx") == (["/b"], None)
        assert await listed("?filter=path%20like%20/*&limit=2") == (["/a", "/b"], 2)
        assert await listed("?filter=status%3D200&before=4&limit=1") == (["/c"], 3)
        shown = (await client.get(f"{url}/2")).json()
    assert (shown["summary"]["seq"], shown["summary"]["status"]) == (2, 503)
    assert shown["exchange"]["request"]["path"] == "/b"
    assert shown["decoded"]["response"]["text"] == shown["exchange"]["response"]["body"]
    assert shown["exchange"]["tap_id"] == session_id


@pytest.mark.parametrize(
    ("bound", "wanted"), [("_MAX_SUMMARIES", "path%3D/c"), ("_MAX_SCANNED", "path%3D/c and latency>=0us")]
)
async def test_a_page_of_a_filter_is_bounded_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, wanted: str
) -> None:
    monkeypatch.setattr(archive, bound, 2)
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"), on(b"/b"), on(b"/c"))
        url = f"{URL}/{session_id}/exchanges?filter={wanted}"
        first = (await client.get(url)).json()
        assert (first["exchanges"], first["next"]) == ([], 2)
        then = (await client.get(f"{url}&after=2")).json()
    assert ([each["path"] for each in then["exchanges"]], then["next"]) == (["/c"], None)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("after=-1", "after"),
        ("before=x", "before"),
        ("before=" + "9" * 40, "before"),
        ("filter=stat", "filter"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused(tmp_path: Path, query: str, said: str) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry)
        for url in ("exchanges", "watch"):
            if url == "exchanges" or said in {"after", "filter"}:
                answer = await client.get(f"{URL}/{session_id}/{url}?{query}")
                assert (answer.status_code, answer.json()["error"]["path"]) == (422, said)


async def test_who_wants_large_bodies_is_told_what_they_cost_the_proxy(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, _):
        for body_bytes, told in ((128 << 10, 0), ((128 << 10) + 1, 1)):
            began = (await client.post(URL, json={**WHY, "limits": {"body_bytes": body_bytes}})).json()
            assert ["ext_proc" in text for text in began["warnings"]] == [True] * told


async def test_a_predicate_is_checked_and_told_apart(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        await captured(registry, on(b"/a"), on(b"/b", b"503"))
        asked = {"predicate": "path^=/  and status = 5xx"}
        found = (await client.post("/api/v1/predicate", json=asked)).json()
        assert found == {
            "predicate": 'path ^= "/" and status = 5xx',
            "proxy": 'path ^= "/"',
            "collector": "status = 5xx",
            "warnings": [],
        }
        assert (await client.post("/api/v1/preview", json=asked)).json() == {"of": 2, "matches": 1}
        refused = await client.post("/api/v1/predicate", json={"predicate": "path^=/ and\nstat=1"})
        assert (refused.status_code, refused.json()["error"]["position"]) == (422, 12)
        assert (await client.post("/api/v1/predicate", json={"x": 1})).status_code == 422
        asked = {"predicate": 'path~"/u/bob@example[.]com" and header[x-pin]~1'}
        found = (await client.post("/api/v1/predicate", json=asked)).json()
        began = (await client.post(URL, json={**WHY, **asked})).json()
        assert found["warnings"] == began["warnings"]
        assert [text.partition(" looks for what is redacted")[0] for text in found["warnings"]] == [
            'path ~ "/u/bob@example[.]com"'
        ]
        asked = {"predicate": "path^=/ and header[cookie] *= sid"}
        for url, body in (("/api/v1/predicate", asked), (URL, {**WHY, **asked})):
            refused = await client.post(url, json=body)
            error = refused.json()["error"]
            assert (refused.status_code, error["position"]) == (422, 12)
            assert error["hint"] == "ask only whether it is there: header[cookie] exists"
        # What is stored has placeholders, which may be compared.
        assert (await client.post("/api/v1/predicate?stored=1", json=asked)).status_code == 200


async def test_one_is_told_who_one_is(tmp_path: Path, tokens: Path) -> None:
    async with api(tmp_path, tokens) as (client, _):
        found = (await client.get("/api/v1/whoami", headers=bearer("olga"))).json()
    assert (found["name"], found["role"]) == ("olga", "operator")
    assert found["may"] == ["view", "export", "start", "stop", "approve", "replay"]


async def test_a_session_shows_which_proxies_it_reached(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry)
        assert (await client.get(f"{URL}/{session_id}")).json()["reached"] == [NODE]


async def test_who_watches_sees_what_was_stored_and_then_the_end(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"))
        watching = asyncio.create_task(client.get(f"{URL}/{session_id}/watch?replay=1"))
        while session_id not in registry.watching.sessions:  # noqa: ASYNC110 - the other task of this very loop
            await asyncio.sleep(0)
        store_exchanges(registry, session_id, on(b"/b", b"503"), on(b"/c"))
        await registry.stop(session_id, "x")
        answer = await watching
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert [(each["seq"], each["path"]) for each in exchanges(answer.text)] == [
            (1, "/a"),
            (2, "/b"),
            (3, "/c"),
        ]
        assert "event: session\ndata: {" in answer.text
        assert '"state":"stopped"' in answer.text

        async def watched(query: str, **headers: str) -> list[int]:
            found = await client.get(f"{URL}/{session_id}/watch?{query}", headers=headers)
            return [each["seq"] for each in exchanges(found.text)]

        assert await watched("") == [], "only what comes from now on"
        assert await watched("after=1") == [2, 3]
        assert await watched("after=0&filter=status%3D5xx") == [2]
        assert await watched("after=0", **{"last-event-id": "2"}) == [3]
        whole = await client.get(f"{URL}/{session_id}/watch?after=2&full=1")
        assert exchanges(whole.text)[0]["request"]["path"] == "/c"


async def test_one_watcher_too_many_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "MAX_WATCHERS", 0)
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry)
        answer = await client.get(f"{URL}/{session_id}/watch")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_who_watches_a_session_that_is_deleted_is_told(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry)
        watching = asyncio.create_task(client.get(f"{URL}/{session_id}/watch"))
        while session_id not in registry.watching.sessions:  # noqa: ASYNC110 - the other task of this very loop
            await asyncio.sleep(0)
        await registry.delete(session_id, "x")
        answer = await watching
    assert answer.text.endswith("event: deleted\ndata: {}\n\n")


async def test_who_watches_is_told_when_the_service_stops(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = (await registry.start(WHY, "x")).session.id
        watching = asyncio.create_task(client.get(f"{URL}/{session_id}/watch"))
        while session_id not in registry.watching.sessions:  # noqa: ASYNC110 - the other task of this very loop
            await asyncio.sleep(0)
        registry.close()
        answer = await watching
    assert answer.text.endswith("event: closing\ndata: {}\n\n")


async def test_at_most_so_many_are_active(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, _):
        statuses = [(await client.post(URL, json=WHY)).status_code for _ in range(17)]
    assert statuses == [201] * 16 + [422]


def exchanges(stream: str) -> list[dict[str, Any]]:
    events = [event.split("\n") for event in stream.split("\n\n")]
    return [json.loads(lines[2].removeprefix("data: ")) for lines in events if lines[0] == "event: exchange"]


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
