"""With rules, people see and end what is of their team, what needs approval waits for it, and all of it is on record."""

from dataclasses import replace
from pathlib import Path

import pytest

from envoy_tap.core.exchange import Node
from envoy_tap.core.session import State
from tests.tap.api import URL, WHY, api, bearer, captured, entry, on

RULES = """
rules:
  - {team: payments, clusters: [payments-*], paths: ["/orders/**"], limits: {duration_s: 600}, approval: true}
  - {team: orders, clusters: [orders-*], limits: {duration_s: 60}}
  - {team: guests, clusters: [none], sees: [payments]}
"""
ORDERS = {**WHY, "limits": {"duration_s": 60}}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    people = [
        ("olga", "operator", "payments"),
        ("otto", "operator", "payments"),
        ("oren", "operator", "orders"),
        ("gus", "operator", "guests"),
    ]
    lines = [entry(*each) for each in people] + [entry("vera", "viewer", "payments"), entry("adam", "admin")]
    path.write_text("".join(lines), "utf-8")
    return path


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES, "utf-8")
    return path


async def test_a_session_that_needs_approval_captures_only_after_another_person_gave_it(
    tmp_path: Path, tokens: Path, rules: Path
) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):

        async def approved(session_id: str, name: str) -> int:
            url = f"{URL}/{session_id}/approve"
            return (await client.post(url, headers=bearer(name))).status_code

        started = (await client.post(URL, json=WHY, headers=bearer("olga"))).json()
        session_id = started["id"]
        assert (started["state"], started["team"], started["needs_approval"]) == ("waiting", "payments", True)
        assert not registry._slot.sessions
        assert await approved(session_id, "olga") == 403, "one's own"
        assert await approved(session_id, "vera") == 403, "a viewer"
        assert await approved(session_id, "oren") == 404, "another team"
        assert registry.get(session_id).state is State.WAITING
        assert await approved(session_id, "otto") == 200
        shown = (await client.get(f"{URL}/{session_id}", headers=bearer("olga"))).json()
        assert (shown["state"], shown["approved_by"]) == ("active", "otto")
        assert shown["expires_at_s"] == 1_000_000 + 600
        assert [each.id for each in registry._slot.sessions] == [session_id]
        assert await approved(session_id, "otto") == 422, "it does not wait any more"


async def test_a_session_says_what_one_may_do_to_it_and_that_is_what_one_may(
    tmp_path: Path, tokens: Path, rules: Path
) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, _):

        async def told(name: str) -> tuple[str, list[str]]:
            started = (await client.post(URL, json=WHY, headers=bearer("olga"))).json()
            one = f"{URL}/{started['id']}"
            shown = (await client.get(one, headers=bearer(name))).json()
            listed = (await client.get(URL, headers=bearer(name))).json()["sessions"]
            assert next(each["may"] for each in listed if each["id"] == started["id"]) == shown["may"]
            for verb, method, url in [
                ("approve", "POST", f"{one}/approve"),
                ("stop", "POST", f"{one}/stop"),
                ("delete", "DELETE", one),
            ]:
                answer = await client.request(method, url, headers=bearer(name))
                assert (answer.status_code != 403) is (verb in shown["may"]), (name, verb)
            return name, shown["may"]

        assert dict([await told(name) for name in ("olga", "otto", "adam", "vera", "gus")]) == {
            "olga": ["stop"],
            "otto": ["approve", "stop"],
            "adam": ["approve", "stop", "delete"],
            "vera": [],
            "gus": [],
        }


async def test_a_session_that_nobody_approves_expires(tmp_path: Path, tokens: Path, rules: Path) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):
        session_id = (await client.post(URL, json=WHY, headers=bearer("olga"))).json()["id"]
        registry._clock.advance(3601)  # type: ignore[attr-defined] # the tests' own clock
        assert registry.get(session_id).state is State.EXPIRED
        late = await client.post(f"{URL}/{session_id}/approve", headers=bearer("otto"))
        assert (late.status_code, late.json()["error"]["message"]) == (
            422,
            "is expired, and does not wait for approval",
        )


async def test_someone_elses_session_is_not_there(tmp_path: Path, tokens: Path, rules: Path) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):
        session_id = (await client.post(URL, json=ORDERS, headers=bearer("oren"))).json()["id"]
        hidden = await captured(registry, on(b"/a"))
        one = f"{URL}/{session_id}"
        asked: list[tuple[str, str]] = [
            ("GET", one),
            ("POST", f"{one}/stop"),
            ("POST", f"{one}/approve"),
            ("GET", f"{one}/exchanges"),
            ("GET", f"{one}/exchanges/1"),
            ("GET", f"{one}/watch"),
        ]
        told = [
            (await client.request(method, url, headers=bearer("olga"))).json()["error"]["message"]
            for method, url in asked
        ]
        assert told == ["there is no such session"] * len(asked)
        assert (await client.get(URL, headers=bearer("olga"))).json() == {"sessions": []}
        mine = (await client.get(URL, headers=bearer("oren"))).json()["sessions"]
        assert [each["id"] for each in mine] == [session_id]
        nodes = (await client.get("/api/v1/nodes", headers=bearer("olga"))).json()["nodes"]
        assert nodes[0]["sessions"] == []
        seen = await client.post("/api/v1/preview", json={"predicate": "all"}, headers=bearer("olga"))
        assert seen.json() == {"of": 0, "matches": 0}
        everything = (await client.get(URL, headers=bearer("adam"))).json()["sessions"]
        assert {each["id"] for each in everything} == {session_id, hidden}
        assert (await client.post(f"{one}/stop", headers=bearer("adam"))).json()["state"] == "stopped"


async def test_what_no_rule_allows_is_denied_with_its_place(
    tmp_path: Path, tokens: Path, rules: Path
) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):
        refused = await client.post(URL, json=WHY, headers=bearer("oren"))
        assert (refused.status_code, refused.json()["error"]["path"]) == (403, "limits.duration_s")
        clusters = {**ORDERS, "nodes": {"clusters": ["payments-eu"]}}
        refused = await client.post(URL, json=clusters, headers=bearer("oren"))
        assert (refused.status_code, refused.json()["error"]["hint"]) == (403, "it allows orders-*")
        assert registry.all() == []


async def test_a_path_that_no_rule_allows_is_not_kept_however_it_is_written(
    tmp_path: Path, tokens: Path, rules: Path
) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):
        session_id = (await client.post(URL, json=WHY, headers=bearer("olga"))).json()["id"]
        await client.post(f"{URL}/{session_id}/approve", headers=bearer("otto"))
        node = Node("p-1", "payments-eu")
        admitted = [
            registry.admit(replace(on(path), tap_id=session_id, node=node)) is not None
            for path in (b"/orders/1", b"/login", b"/orders/../login", b"/orders/%2e%2e/login")
        ]
        assert admitted == [True, False, False, False]
        assert registry.get(session_id).counts["forbidden"] == 3


async def test_all_that_is_done_or_denied_is_on_record(tmp_path: Path, tokens: Path, rules: Path) -> None:
    async with api(tmp_path, tokens, rules=rules) as (client, registry):
        session_id = (await client.post(URL, json=WHY, headers=bearer("olga"))).json()["id"]
        one = f"{URL}/{session_id}"
        hidden = await captured(registry, on(b"/a"))
        for method, url, name in [
            ("POST", f"{one}/approve", "olga"),
            ("POST", f"{one}/approve", "otto"),
            ("GET", one, "mallory"),
            ("GET", one, "oren"),
            ("GET", f"{one}/exchanges", "vera"),
            ("GET", f"{URL}/{hidden}/exchanges/1", "adam"),
            ("POST", f"{one}/stop", "vera"),
            ("GET", "/api/v1/audit", "olga"),
            ("POST", f"{one}/stop", "olga"),
            ("DELETE", one, "adam"),
        ]:
            await client.request(method, url, headers=bearer(name))
        entries = (await client.get("/api/v1/audit?limit=50", headers=bearer("adam"))).json()["entries"]
    told = [(each["who"], each["action"], each["outcome"], each["session"]) for each in entries]
    assert told == [
        ("olga", "start", "ok", session_id),
        ("olga", "approve", "denied", session_id),
        ("otto", "approve", "ok", session_id),
        ("", "view", "denied", session_id),
        ("oren", "view", "denied", session_id),
        ("vera", "view", "ok", session_id),
        ("adam", "view", "ok", hidden),
        ("vera", "stop", "denied", session_id),
        ("olga", "audit", "denied", ""),
        ("olga", "stop", "ok", session_id),
        ("adam", "delete", "ok", session_id),
        ("adam", "view", "ok", ""),
    ]
    assert entries[0]["detail"]["why"] == "INC-1"
    assert entries[6]["detail"] == {"what": "exchange", "seq": 1}
    assert "token-of-mallory" not in str(entries)


async def test_what_cannot_be_told_is_not_done_but_an_end_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"))

        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("envoy_tap.audit.log.AuditLog.append", refuse)
        assert (await client.post(URL, json=WHY)).status_code == 507
        assert (await client.get(f"{URL}/{session_id}/exchanges/1")).status_code == 507
        assert (await client.delete(f"{URL}/{session_id}")).status_code == 507
        assert (await client.post(f"{URL}/{session_id}/stop")).json()["state"] == "stopped"
        assert [each.session.id for each in registry.all()] == [session_id]
