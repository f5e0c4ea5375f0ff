"""One predicate on every driver, over the same traffic: what a session captures does not depend on how it comes out."""

from pathlib import Path

import pytest

from envoy_tap.core.annotations import taken_off
from envoy_tap.core.redaction.redactor import Redactor
from envoy_tap.core.redaction.rules import Redaction, Style
from envoy_tap.core.session import Progress, Verdict
from tests.conformance.tap.checks import arm, halves, target
from tests.conformance.tap.rigs import TRIED, rig

# What is captured of one request: what the proxy can decide is as the client sent it, the rest as it is stored.
TRACE = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
EXPECTED = {
    "header[host]=Shop.example": True,
    "header[host]~Shop.* and authority~'SHOP[.].*'": True,
    "not header[host] exists": False,
    'header[authorization]^="Basic "': True,
    'not header[authorization]^="Basic "': False,
    'header[authorization]~"Basic .*"': False,
    'not header[authorization]~"Basic .*" and path^=/basic': False,
    'not header[authorization]~"Bearer .*" and path^=/basic': False,
    'path~"/basic/bob@example.com"': False,
    "path=/basic/bob@example.com": True,
    "response.header[set-cookie]*=session": False,
    "response.header[set-cookie] exists": True,
    "request.json[password]=hunter2": False,
    "not request.json[password]=other": False,
    "request.json[id]=7": True,
    # Which its client wrote so.
    "header[x-note]='[redacted]'": True,
    "sample(41.52%)": True,
    "sample(41.51%)": False,
}


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("driver", TRIED)
async def test_a_predicate_captures_the_same_by_every_driver(
    driver: str, style: Style, tmp_path: Path
) -> None:
    rules = Redaction(style=style)
    sessions = {
        f"{number:012x}": target(text, f"{number:012x}", redaction=rules)
        for number, text in enumerate(EXPECTED)
    }
    fence = target("path=/fence", "f" * 12)
    names = dict(zip(sessions, EXPECTED, strict=True)) | {fence.id: "the fence"}
    captured: set[str] = set()
    async with rig(driver, tmp_path) as at:
        await arm(at, *sessions.values(), fence)
        at.upstream.answer = b"HTTP/1.1 200 OK\r\nset-cookie: session=1\r\ncontent-length: 4\r\n\r\npong"
        headers = ("authorization: Basic abc", "content-type: application/json", "x-note: [redacted]", TRACE)
        body = b'{"id": 7, "password": "hunter2"}'
        await at.ask("POST /basic/bob@example.com HTTP/1.1", *headers, body=body, host="Shop.example")
        await at.ask("GET /fence HTTP/1.1")
        redactor = Redactor(rules, frozenset(), b"key")
        wanted = {text for text, is_captured in EXPECTED.items() if is_captured} | {"the fence"}
        while not captured >= wanted:
            found, told = taken_off(await at.sink.next())
            judged = Progress(sessions.get(found.tap_id, fence))
            verdict = judged.judge(found, found.finished_s, told.decided, redactor)
            is_fence = halves(found)[0].first(":path") == b"/fence"
            if verdict is Verdict.CAPTURED and is_fence is (found.tap_id == fence.id):
                captured.add(names[found.tap_id])
    assert captured == wanted
