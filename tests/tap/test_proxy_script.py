"""The whole script in LuaJIT, without a proxy: whatever passes it, what it sends is whole messages that hold just that."""

import struct
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envoy_sidecar.transport.batching import MAX_MESSAGE_BYTES
from envoy_tap.core.annotations import PREFIX
from envoy_tap.core.assembly import Assembler, Limits
from envoy_tap.core.events import Loss
from envoy_tap.core.exchange import Exchange, Node
from envoy_tap.core.predicate import parse
from envoy_tap.core.redaction.rules import NOTHING
from envoy_tap.core.session import Limits as SessionLimits
from envoy_tap.core.session import Session
from envoy_tap.slot.script import Setup, render
from envoy_tap.whole_streams import SERVICE_NAME
from envoy_tap.wire import StreamDecoder, whole_stream
from tests.tap.lua import Lua

LUA = Lua()
Pairs = list[tuple[str, bytes]]

# What of Envoy's API the script uses: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/lua_filter
ENVOY = rb"""
local make, sent = ...
EnvoyTimestampResolution = {MICROSECOND = 1}
local function pairs(of)
  local list, place = of.list, 0
  return function()
    place = place + 1
    if list[place] then return list[place][1], list[place][2] end
  end
end
local function headers_of(list)
  local headers = {list = list}
  function headers:get(name)
    local found
    for _, pair in ipairs(list) do
      if pair[1] == name then found = found and found .. "," .. pair[2] or pair[2] end
    end
    return found
  end
  return headers
end
local metadata = {}
local kept = {get = function(_, name) return metadata[name] end}
function kept:set(name, key, value)
  metadata[name] = metadata[name] or {}
  metadata[name][key] = value
end
local info = {dynamicMetadata = function() return kept end, downstreamRemoteAddress = function() return "127.0.0.1:1" end}
local function handle_of(list, chunks, trailers)
  local handle, place = {}, 0
  function handle:headers() return headers_of(list) end
  function handle:streamInfo() return info end
  function handle:timestampString() return "1000000" end
  function handle:trailers() return trailers and headers_of(trailers) end
  function handle:httpCall(cluster, call, body) sent[#sent + 1] = call[":path"] .. "\0" .. body end
  function handle:bodyChunks()
    return function()
      place = place + 1
      local chunk = chunks[place]
      if not chunk then return nil end
      return {length = function() return #chunk end, getBytes = function(_, from, count) return string.sub(chunk, from + 1, from + count) end}
    end
  end
  return handle
end
"""
RUN = rb"""
envoy_on_request(handle_of(make.request, make.chunks, make.request_trailers))
envoy_on_response(handle_of(make.response, make.answer, make.response_trailers))
"""


def pushed(script: str, request: Pairs, response: Pairs, body: Sequence[bytes]) -> list[bytes]:
    """Return the calls that *script* makes for one exchange: path, a zero byte, and body."""
    table = LUA.runtime.table_from
    make = {
        b"request": table([table(pair) for pair in _coded(request)]),
        b"chunks": table(body),
        b"response": table([table(pair) for pair in _coded(response)]),
        b"answer": table(body),
        b"request_trailers": table([table(pair) for pair in _coded(response[1:])]),
    }
    sent = LUA.runtime.table()
    LUA.runtime.execute(ENVOY + script.encode() + RUN, table(make), sent)
    return list(sent.values())


def _coded(pairs: Pairs) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value) for name, value in pairs]


def unframed(body: bytes) -> Iterator[bytes]:
    while body:
        compressed, size = struct.unpack(">BI", body[:5])
        assert compressed == 0
        assert len(body) >= 5 + size
        yield body[5 : 5 + size]
        body = body[5 + size :]


def messages_of(call: bytes) -> list[bytes]:
    """Return the StreamTapsRequests in *call*, whichever of the two methods it is of."""
    path, _, body = call.partition(b"\0")
    messages = list(unframed(body))
    if path == b"/envoy.service.tap.v3.TapSinkService/StreamTaps":
        return messages
    assert path == f"/{SERVICE_NAME}/TakeTaps".encode()
    (one,) = messages
    found = whole_stream(one)
    assert found is not None
    return list(found)


def assembled(calls: Sequence[bytes]) -> list[Exchange]:
    lost: list[Loss] = []
    assembler = Assembler(Limits(), lost.append)
    found: list[Exchange] = []
    for number, call in enumerate(calls):
        decoder = StreamDecoder(number, lost.append)
        for message in messages_of(call):
            event = decoder.decode(message)
            assert event is not None
            found += assembler.feed(event, 1.0)
        found += assembler.feed(decoder.end(clean=True), 1.0)
    assert lost == []
    return found


values = st.binary(max_size=40).map(
    lambda value: value.replace(b"\0", b"").replace(b"\r", b"").replace(b"\n", b"")
)
names = st.from_regex(r"x-[a-z0-9-]{1,12}", fullmatch=True)
headers = st.lists(st.tuples(names, values), max_size=4)
hostile = st.text(max_size=20) | st.sampled_from(['"', "\\", "]]", "--[[", '" .. os.exit() .. "', "%1", "\0"])


@settings(max_examples=60)
@given(headers, headers, st.lists(st.binary(min_size=1, max_size=60), max_size=4), values, hostile, hostile)
def test_what_passes_comes_out_just_so(  # noqa: PLR0917 - hypothesis gives them
    request: Pairs, response: Pairs, body: list[bytes], note: bytes, tap_id: str, name: str
) -> None:
    session = Session(tap_id, "alice", "why", parse("method=PUT"), 0.0, (1 << 53) - 1, redaction=NOTHING)
    asked: Pairs = [(":method", b"PUT"), (":path", b"/" + note), ("x-note", note), *request]
    answered: Pairs = [(":status", b"200"), *response]
    script = render([session], Node(name, name), Setup(cluster_name=name))
    (found,) = assembled(pushed(script, asked, answered, body))
    assert (found.tap_id, found.node) == (tap_id, Node(name, name))
    assert found.request is not None
    assert found.response is not None
    sent = [pair for pair in found.request.headers if not pair[0].startswith(PREFIX)]
    assert sent == asked
    assert [pair for pair in found.response.headers if not pair[0].startswith(PREFIX)] == answered
    assert found.request.body == found.response.body == b"".join(body)
    assert list(found.request.trailers) == answered[1:]
    assert not found.truncated


@pytest.mark.parametrize(("half_mib", "method"), [(5, "TakeTaps"), (8, "StreamTaps")])
def test_what_is_too_large_for_one_message_goes_as_a_stream(half_mib: int, method: str) -> None:
    limits = SessionLimits(body_bytes=16 << 20)
    session = Session("t", "alice", "why", parse("all"), 0.0, (1 << 53) - 1, limits=limits, redaction=NOTHING)
    body = [bytes([number]) * (1 << 19) for number in range(half_mib)]
    asked: Pairs = [(":method", b"PUT"), (":path", b"/")]
    calls = pushed(render([session], Node("n", "c"), Setup()), asked, [(":status", b"200")], body)
    assert [call.partition(b"\0")[0].rpartition(b"/")[2] for call in calls] == [method.encode()] * 2
    assert max(len(message) for call in calls for message in messages_of(call)) < MAX_MESSAGE_BYTES
    (found,) = assembled(calls)
    assert found.request is not None
    assert found.request.body == b"".join(body)
