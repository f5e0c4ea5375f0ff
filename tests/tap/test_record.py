"""An exchange as data says all of it, reads back as the same exchange, and has a summary."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.exchange import Exchange, Facts, Message
from envoy_tap.core.record import as_object, exchange_of, summary
from tests.tap.building import REQUEST, RESPONSE, exchange


def test_the_form_of_an_exchange() -> None:
    assert as_object(exchange()) == {
        "time": "1970-01-01T00:00:01.500000Z",
        "finished": "1970-01-01T00:00:02.000000Z",
        "node": {"id": "edge-1", "cluster": "edge"},
        "tap_id": "tap-1",
        "trace_id": "7",
        "source": {"address": None, "principal": None},
        "facts": {},
        "request": {
            "method": "POST",
            "scheme": None,
            "authority": None,
            "path": "/orders",
            "headers": [["x-a", "1"]],
            "body": "ping",
            "trailers": [["x-t", "q"]],
        },
        "response": {"status": 200, "headers": [["x-b", "2"]], "body": "pong", "trailers": [["x-t", "r"]]},
        "flags": {"truncated": False, "incomplete": False},
    }


def test_a_half_that_is_missing_is_null() -> None:
    found = as_object(exchange(response=None, incomplete=True))
    assert found["response"] is None
    assert found["flags"] == {"truncated": False, "incomplete": True}


def test_what_is_not_text_is_base64() -> None:
    headers = ((":path", b"/\xff"), ("x", b"\xff"), ("x", b"twice"))
    found = as_object(exchange(request=Message(headers, b"\xff\x00", (("t", b"\xfe"),))))["request"]
    assert found["path"] == "/\\xff"
    assert found["headers"] == [["x", {"base64": "/w=="}], ["x", "twice"]]
    assert (found["body"], found["body_encoding"]) == ("/wA=", "base64")
    assert found["trailers"] == [["t", {"base64": "/g=="}]]


@pytest.mark.parametrize("status", [b"", b"20", b"2000", b"9" * 5000, b"-10", "²²²".encode(), b"abc"])
def test_a_status_that_is_none_is_null(status: bytes) -> None:
    assert as_object(exchange(response=Message(((":status", status),))))["response"]["status"] is None


@given(st.binary(max_size=50), st.text(max_size=20), st.binary(max_size=20))
def test_any_exchange_is_one_line_that_reads_back(body: bytes, name: str, value: bytes) -> None:
    name = name.encode(errors="replace").decode()
    hostile = exchange(request=Message(((name, value), (":path", value)), body))
    line = json.dumps(as_object(hostile))
    assert len(line.splitlines()) == 1
    assert as_object(exchange_of(json.loads(line))) == as_object(hostile)


@pytest.mark.parametrize(
    "found",
    [
        exchange(),
        exchange(response=None, incomplete=True),
        exchange(request=None, truncated=True),
        exchange(source_address="10.0.0.1:80", facts=Facts(protocol="HTTP/2", route="orders")),
        exchange(request=replace(REQUEST, body=b"\xff\x00"), started_s=1732455000.123456),
    ],
    ids=range(5),
)
def test_an_exchange_reads_back(found: Exchange) -> None:
    assert exchange_of(as_object(found)) == found


def test_the_summary_of_an_exchange() -> None:
    trace = (("traceparent", b"00-" + b"0AF7651916CD43DD8448EB211C80319C" + b"-b7ad6b7169203331-01"),)
    found = exchange(request=replace(REQUEST, headers=REQUEST.headers + trace), truncated=True)
    assert summary(found, 3) == {
        "seq": 3,
        "session": "tap-1",
        "time": "1970-01-01T00:00:01.500000Z",
        "node": {"id": "edge-1", "cluster": "edge"},
        "method": "POST",
        "scheme": None,
        "authority": None,
        "path": "/orders",
        "status": 200,
        "grpc_status": None,
        "duration_ms": 500.0,
        "request_bytes": 4,
        "response_bytes": 4,
        "request_type": None,
        "response_type": None,
        "protocol": None,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "flags": ["truncated"],
    }


def test_the_summary_says_what_is_missing_and_what_was_hidden() -> None:
    hidden = replace(REQUEST, headers=((":path", b"/?token=[redacted]"),))
    found = summary(exchange(request=hidden, response=None, incomplete=True), 1)
    assert (found["flags"], found["status"], found["duration_ms"]) == (["incomplete", "redacted"], None, None)
    keyed = replace(RESPONSE, body=b'{"a": "[hmac:0123]"}')
    assert summary(exchange(response=keyed), 1)["flags"] == ["redacted"]


@pytest.mark.parametrize(("value", "status"), [(b"14", 14), (b"x", None), (b"", None), (b"123", None)])
def test_the_summary_has_the_status_of_grpc(value: bytes, status: int | None) -> None:
    found = replace(RESPONSE, trailers=(("grpc-status", value),))
    assert summary(exchange(response=found), 1)["grpc_status"] == status
