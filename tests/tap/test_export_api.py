"""The export route: formats, choices, refusals, and that nothing in an answer does anything in a browser."""

import json
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.tap.api import URL, api, captured, on
from tests.tap.building import exchange


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("", ["/a", "/b", "/c"]),
        ("&seq=1,3", ["/a", "/c"]),
        ("&seq=2-9", ["/b", "/c"]),
        ("&seq=3,1-2", ["/a", "/b", "/c"]),
        ("&filter=" + quote("status=5xx"), ["/b"]),
        ("&seq=1&filter=" + quote("status=5xx"), []),
    ],
)
async def test_what_is_asked_for_is_exported(tmp_path: Path, query: str, paths: list[str]) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, on(b"/a"), on(b"/b", b"503"), on(b"/c"))
        answer = await client.get(f"{URL}/{session_id}/export?format=jsonl{query}")
    assert [json.loads(line)["request"]["path"] for line in answer.text.splitlines()] == paths
    assert answer.headers["content-disposition"] == f'attachment; filename="tap-{session_id}.jsonl"'
    assert answer.headers["content-security-policy"].startswith("sandbox; default-src 'none'")


async def test_a_har_names_the_session(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, exchange())
        har = (await client.get(f"{URL}/{session_id}/export?format=har")).json()
    assert har["log"]["comment"] == f"tap session {session_id}: INC-1 (all)"
    assert [entry["_seq"] for entry in har["log"]["entries"]] == [1]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("format=htm", "did you mean html?"),
        ("format=../../x", "known are har"),
        ("seq=0", "is no list"),
        ("seq=3-1", "is no list"),
        ("seq=1,,2", "is no list"),
        ("seq=" + "1," * 500 + "1", "at most 200"),
        ("seq=9999999999999999999", "is no list"),
        ("filter=path", "an operator is missing"),
    ],
)
async def test_what_cannot_be_exported_is_said(tmp_path: Path, query: str, said: str) -> None:
    async with api(tmp_path) as (client, registry):
        session_id = await captured(registry, exchange())
        answer = await client.get(f"{URL}/{session_id}/export?{query}")
    assert answer.status_code == 422
    assert said in answer.text


async def test_more_than_is_read_at_once_is_exported_whole(tmp_path: Path) -> None:
    async with api(tmp_path) as (client, registry):
        asked = {"limits": {"rate_per_s": 1000}}
        session_id = await captured(registry, *[on(b"/%d" % number) for number in range(150)], **asked)
        answer = await client.get(f"{URL}/{session_id}/export?format=jsonl")
    assert [json.loads(line)["seq"] for line in answer.text.splitlines()] == list(range(1, 151))
