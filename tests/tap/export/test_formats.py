"""What other tools get: each format is valid, whole, and says what is not."""

import base64
import io
import ipaddress
import json
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

import h11
import jsonschema
import pcapng
import pytest

from envoy_tap.core.exchange import Exchange, Message
from envoy_tap.export import FORMATS, file_name
from tests.tap.building import exchange
from tests.tap.export.har_schema import HAR_1_2
from tests.tap.export.samples import (
    ABOUT,
    ALL,
    BINARY,
    CUT,
    EVIL,
    HOSTILE,
    ORDER,
    RESET,
    entries,
    request,
    response,
    written,
)


@pytest.mark.parametrize("exchanges", [ALL, (ORDER,)], ids=["all", "one"])
def test_a_har_is_valid(exchanges: tuple[Exchange, ...]) -> None:
    har = json.loads(written("har", *exchanges))
    jsonschema.Draft202012Validator(HAR_1_2, format_checker=jsonschema.FormatChecker()).validate(har)
    assert len(har["log"]["entries"]) == len(exchanges)


def test_a_har_without_entries_is_valid() -> None:
    empty = b"".join(FORMATS["har"].write(iter(()), ABOUT))
    jsonschema.validate(json.loads(empty), HAR_1_2)


def test_a_har_holds_what_was_exchanged() -> None:
    entry = json.loads(written("har", ORDER))["log"]["entries"][0]
    assert entry["startedDateTime"] == "1970-01-01T00:00:01.500000Z"
    assert (entry["time"], entry["serverIPAddress"]) == (500.0, "10.0.0.7")
    sent, got = entry["request"], entry["response"]
    assert (sent["method"], sent["url"]) == ("POST", "https://shop.example/orders?a=1&b=%20")
    assert sent["queryString"] == [{"name": "a", "value": "1"}, {"name": "b", "value": " "}]
    assert sent["cookies"] == [{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]
    assert (sent["postData"]["mimeType"], sent["postData"]["text"]) == ("application/json", '{"item": "tea"}')
    assert (got["status"], got["statusText"], got["content"]["text"]) == (200, "OK", '{"made": true}')
    assert got["cookies"] == [{"name": "sid", "value": "3"}]


def test_a_har_says_what_is_missing() -> None:
    cut, reset = json.loads(written("har", CUT, RESET))["log"]["entries"]
    for flag in ("truncated", "incomplete", "redacted"):
        assert flag in cut["comment"]
    assert base64.b64decode(cut["request"]["postData"]["text"]) == BINARY
    assert (cut["response"]["status"], reset["request"]["method"]) == (0, "UNKNOWN")


@pytest.mark.parametrize(
    "host",
    [
        b"[redacted]",
        b"[redacted]:80",
        b"[x",
        b"4111111111111111",
        b"a@b",
        b"[::1]:8080",
        b"a b",
        b"%",
        b"a:b:c",
    ],
)
@pytest.mark.parametrize("name", ["har", "html", "curl", "raw"])
def test_a_hostile_host_costs_no_export(name: str, host: bytes) -> None:
    hostile = exchange(Message(((":authority", host), (":path", b"/?a=1#b"))), response())
    found = written(name, hostile, ORDER)
    assert b"shop.example" in found
    if name == "har":
        first, _ = json.loads(found)["log"]["entries"]
        url = urlsplit(first["request"]["url"])
        is_host = host in {b"[::1]:8080", b"4111111111111111"}
        assert url.netloc == (host.decode() if is_host else "unknown.invalid")
        assert ("unknown.invalid" in first["comment"]) is not is_host
        assert first["request"]["queryString"] == [{"name": "a", "value": "1"}]


@pytest.mark.parametrize("name", ["har", "html", "curl", "raw"])
def test_an_exchange_that_cannot_be_exported_says_so_and_costs_no_other(name: str) -> None:
    first, second = entries(ORDER, ORDER)
    broken = replace(first, stored={}, exchange=cast("Any", None))
    found = b"".join(FORMATS[name].write(iter([broken, second]), ABOUT))
    assert b"exchange 1 could not be exported: " in found
    assert found.count(b"shop.example") > 0
    if name == "har":
        jsonschema.validate(json.loads(found), HAR_1_2)


def test_json_lines_are_what_is_stored() -> None:
    lines = [json.loads(line) for line in written("jsonl").splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["request"]["body"] == '{"item": "tea"}'


def test_raw_http_is_http() -> None:
    events = http_events(written("raw", ORDER))
    sent, got = events
    assert (sent["method"], sent["target"], sent["body"]) == (
        b"POST",
        b"/orders?a=1&b=%20",
        b'{"item": "tea"}',
    )
    assert dict(sent["headers"])[b"host"] == b"shop.example"
    assert (got["status"], got["body"], dict(got["headers"])[b"x-envoy-tap"]) == (
        200,
        b'{"made": true}',
        b"1",
    )


@pytest.mark.parametrize("method", [b"HEAD", b"GET"])
def test_an_answer_without_a_body_keeps_its_length(method: bytes) -> None:
    answer = response(b"", ("content-length", b"5000"), status=b"200" if method == b"HEAD" else b"304")
    _, got = http_events(written("raw", exchange(request(method=method), answer)))
    assert dict(got["headers"])[b"content-length"] == b"5000"


def test_what_is_not_whole_says_so_in_raw_http() -> None:
    assert b"x-envoy-tap: 1; truncated; incomplete; redacted\r\n" in written("raw", CUT)


def test_headers_cannot_break_out_of_their_line() -> None:
    found = written(
        "raw", exchange(request(b"", ("x-a", b"1\r\nevil: yes\r\n\r\n"), ("bad name", b"x")), None)
    )
    assert b"x-a: 1  evil: yes\r\n" in found
    assert b"bad name" not in found


def test_a_pcapng_holds_a_tcp_connection_for_each_exchange() -> None:
    streams = tcp_streams(written("pcapng", ORDER, CUT))
    assert [http_events(b"".join(stream))[0]["method"] for stream in streams.values()] == [b"POST", b"POST"]
    first = next(iter(streams))
    assert first == (ipaddress.ip_address("10.1.2.3"), 4711, ipaddress.ip_address("10.9.9.9"), 80)
    answer = streams[first][1]
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"made": true}')


def test_a_pcapng_says_what_is_missing_in_a_comment() -> None:
    comments = [
        block.options["opt_comment"]
        for block in blocks(written("pcapng", CUT))
        if "opt_comment" in block.options
    ]
    assert "truncated" in str(comments[-1])


def test_a_large_body_is_many_segments_and_ipv6_is_written_as_such() -> None:
    large = exchange(request(b"x" * 200_000), response(b"y" * 200_000), source_address="[2001:db8::7]:99")
    (stream,) = tcp_streams(written("pcapng", large)).values()
    assert [event["body"] for event in http_events(b"".join(stream))] == [b"x" * 200_000, b"y" * 200_000]


def test_no_name_of_a_file_can_lead_elsewhere() -> None:
    assert file_name("../../etc/0a", FORMATS["har"]) == "tap-etc0a.har"


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_takes_everything(name: str) -> None:
    assert written(name, *ALL, exchange(Message(), Message()), exchange(None, None))


def test_html_holds_what_a_peer_sent_as_text_only() -> None:
    report = written("html").decode()
    assert HOSTILE not in report
    assert "<script" not in report.lower()
    assert "&lt;script&gt;document.title=" in report
    assert "script-src" not in report
    assert "default-src &#39;none&#39;" in report
    assert EVIL.request is not None


def http_events(data: bytes) -> list[dict[str, Any]]:
    """Return the request and, if there is one, the response that *data* is, as h11 reads them."""
    sent = _read(h11.Connection(h11.SERVER), data)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=sent["method"], target="/", headers=[("host", "x")]))
    client.send(h11.EndOfMessage())
    return [sent, *([_read(client, sent["rest"])] if sent["rest"] else [])]


def _read(connection: h11.Connection, data: bytes) -> dict[str, Any]:
    connection.receive_data(data)
    found: dict[str, Any] = {"body": b""}
    while not isinstance(event := connection.next_event(), h11.EndOfMessage):
        match event:
            case h11.Request():
                found |= {"method": event.method, "target": event.target, "headers": event.headers}
            case h11.Response():
                found |= {"status": event.status_code, "headers": event.headers}
            case h11.Data():
                found["body"] += bytes(event.data)
            case _:
                raise AssertionError(event)
    return found | {"rest": connection.trailing_data[0]}


def blocks(data: bytes) -> list[Any]:
    return list(pcapng.FileScanner(io.BytesIO(data)))


def tcp_streams(data: bytes) -> dict[tuple[Any, ...], list[bytes]]:
    """Return what both ends sent, by client and server; each packet's numbers and checksum are checked."""
    found: dict[tuple[Any, ...], list[bytes]] = {}
    expected: dict[tuple[Any, ...], int] = {}
    for block in blocks(data):
        if not isinstance(block, pcapng.blocks.EnhancedPacket):
            continue
        packet = block.packet_data
        head, size = (40, 16) if packet[0] >> 4 == 6 else (20, 4)
        ends = packet[head - 2 * size : head]
        source, target = (ipaddress.ip_address(ends[:size]), ipaddress.ip_address(ends[size:]))
        tcp = packet[head:]
        pseudo = ends + len(tcp).to_bytes(4, "big") + b"\0\0\0\x06"
        assert ones(pseudo + tcp) == 0xFFFF
        assert head == 40 or ones(packet[:20]) == 0xFFFF
        ports = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
        seq, flags, payload = int.from_bytes(tcp[4:8], "big"), tcp[13], tcp[20:]
        way = (source, ports[0], target, ports[1])
        assert expected.setdefault(way, seq) == seq
        expected[way] = seq + len(payload) + bool(flags & 0x03)
        key, side = (way, 0) if ports[1] == 80 else ((target, ports[1], source, ports[0]), 1)
        found.setdefault(key, [b"", b""])[side] += payload
    return found


def ones(data: bytes) -> int:
    total = sum(int.from_bytes((data + b"\0")[at : at + 2], "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
