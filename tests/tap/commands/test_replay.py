"""Replays: what is sent is what was captured, to the one target that was given, and only if it is wanted."""

from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from envoy_tap.api.openapi import document
from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.replay import ReplayError, Target, prepare, send
from tests.tap.building import exchange
from tests.tap.certificates import certificate
from tests.tap.commands.desk import Desk, Shell, desk, target
from tests.tap.commands.desk import Target as Upstream
from tests.tap.commands.test_sessions import started
from tests.tap.export.samples import BINARY, CUT, ORDER, RESET, request, response

HERE = Target.read("http://127.0.0.1:9")


def test_the_captured_request_is_sent_without_what_was_of_its_hop(
    shell: Shell, served: Desk, upstream: Upstream
) -> None:
    session_id = started(shell)
    of_the_hop = (("connection", b"x-hop"), ("x-hop", b"1"), ("te", b"trailers"), ("content-length", b"99"))
    sent = request(BINARY, *of_the_hop, ("x-a", b"1"), ("x-a", b"2"), path=b"/a/../b%2f//?q=[1]")
    served.capture(session_id, exchange(sent, response(b"ok")))
    upstream.status, upstream.headers = 302, [("location", "http://evil.example/")]
    ran = shell("replay", session_id, "1", "--to", f"{upstream.url}/base/", "--yes")
    assert ran.code == 0, ran.err
    [(method, path, headers, body)] = upstream.sent
    assert (method, path, body) == ("POST", "/base/a/../b%2f//?q=[1]", BINARY)
    assert headers == [
        ("host", upstream.url.removeprefix("http://")),
        ("x-envoy-tap-replay", f"{session_id}/1"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("content-length", "256"),
    ]
    assert ran.err.splitlines()[0] == f"POST {upstream.url}/base/a/../b%2f//?q=[1]"
    assert "captured was 200, and the bodies are the same" in ran.err
    assert ran.out.startswith("302\n")


def test_it_is_not_sent_without_being_wanted(shell: Shell, served: Desk, upstream: Upstream) -> None:
    session_id = started(shell)
    served.capture(session_id, CUT, ORDER)
    doubtful = shell("replay", session_id, "1", "--to", upstream.url, "--yes")
    assert doubtful.code == 1
    assert "placeholder: authorization" in doubtful.err
    assert "truncated" in doubtful.err
    unasked = shell("replay", session_id, "2", "--to", upstream.url, "--force")
    assert (unasked.code, "there is no terminal to ask at" in unasked.err) == (2, True)
    assert upstream.sent == []
    assert shell("replay", session_id, "1", "--to", upstream.url, "--yes", "--force").code == 0
    assert len(upstream.sent) == 1


def test_no_proxy_of_the_environment_is_used(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    assert send(prepare(exchange(request(b"x")), Target.read(upstream.url), "x")).status == 200


def test_tls_is_verified(tmp_path: Path) -> None:
    pair = certificate(tmp_path)
    with target(pair) as secure:
        prepared = prepare(exchange(request(b"x")), Target.read(secure.url), "x")
        elsewhere = prepare(
            exchange(request(b"x")), Target.read(secure.url.replace("127.0.0.1", "localhost")), "x"
        )
        for refused, ca in ((prepared, None), (elsewhere, pair[0])):
            with pytest.raises(ReplayError, match="CERTIFICATE_VERIFY_FAILED"):
                send(refused, ca)
        assert secure.sent == []
        assert send(prepared, pair[0]).status == 200
    with pytest.raises(ReplayError, match="No such file"):
        send(prepared, tmp_path / "none.pem")


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (RESET, "not captured"),
        (exchange(request(method=b"CONNECT")), "no plain HTTP request"),
        (exchange(request(b"", ("upgrade", b"websocket"))), "no plain HTTP request"),
        (exchange(request(b"", ("content-type", b"application/grpc"))), "use grpcurl"),
        (exchange(request(path=b"*")), "no path"),
        (exchange(request(path=b"http://evil.example/")), "no path"),
    ],
)
def test_what_cannot_be_sent_again_is_said(one: Exchange, said: str) -> None:
    with pytest.raises(ReplayError, match=said):
        prepare(one, HERE, "x")


@pytest.mark.parametrize(
    "path",
    [b"/../admin", b"/a/%2e%2E/../admin", b"/..%2fadmin", b"/..\\admin", b"/..;x/admin", b"//../admin"],
)
def test_no_captured_path_leaves_that_of_the_target(path: bytes) -> None:
    one = exchange(request(path=path))
    with pytest.raises(ReplayError, match="by which it would leave"):
        prepare(one, Target.read("http://127.0.0.1:9/base"), "x")
    assert prepare(one, HERE, "x").path == path


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://x",
        "x:1",
        "http://",
        "http://a@b",
        "http://a?b",
        "http://a/#b",
        "http://a:99999",
        "http://a b",
        "//a",
    ],
)
def test_what_is_no_target_is_said(url: str) -> None:
    with pytest.raises(ReplayError, match="write http"):
        Target.read(url)


@given(path=st.binary(max_size=30), authority=st.binary(max_size=20), value=st.binary(max_size=20))
def test_no_captured_byte_changes_the_target(path: bytes, authority: bytes, value: bytes) -> None:
    headers = (
        (":method", b"GET"),
        (":authority", authority),
        (":path", b"/" + path),
        ("host", value),
        ("x", value),
    )
    found = prepare(exchange(Message(headers)), HERE, "x")
    assert found.url.startswith("http://127.0.0.1:9/")
    assert dict(found.headers)["host"] == b"127.0.0.1:9"
    assert not any(byte in found.path for byte in b"\r\n \0")


def test_the_service_sends_only_to_its_targets(upstream: Upstream, tmp_path: Path, served: Desk) -> None:
    with desk(tmp_path / "data", replay_to=(upstream.url,)) as own:
        url = f"http://{own.admin}/api/v1/sessions"
        session_id = httpx.post(url, json={"why": "x"}).json()["id"]
        own.capture(session_id, exchange(request(b"x"), response()), CUT)
        replay = f"{url}/{session_id}/exchanges/{{}}/replay"
        upstream.headers = [("set-cookie", "sid=s3cr3t"), ("location", "/?token=s3cr3t")]
        sent = httpx.post(replay.format(1), json={"to": upstream.url})
        elsewhere = httpx.post(replay.format(1), json={"to": "http://127.0.0.1:1"})
        doubtful = httpx.post(replay.format(2), json={"to": upstream.url})
        wrong = httpx.post(replay.format(1), json={"to": 5})
        none = httpx.post(replay.format(9), json={"to": upstream.url})
    assert (sent.status_code, sent.json()["answer"]["response"]["status"]) == (200, 200)
    assert "s3cr3t" not in sent.text
    assert ["set-cookie", "[redacted]"] in sent.json()["answer"]["response"]["headers"]
    schema = {"$ref": "#/components/schemas/Replayed", "components": document()["components"]}
    Draft202012Validator(schema).validate(sent.json())
    assert sent.json()["answer"]["captured_status"] == 200
    assert [each.status_code for each in (elsewhere, doubtful, wrong, none)] == [403, 409, 422, 404]
    assert len(upstream.sent) == 1
    url = f"http://{served.admin}/api/v1/sessions"
    session_id = httpx.post(url, json={"why": "x"}).json()["id"]
    refused = httpx.post(f"{url}/{session_id}/exchanges/1/replay", json={"to": upstream.url})
    assert (refused.status_code, "--replay-to" in refused.text) == (403, True)
