"""The other end of ext_proc: whatever comes, it ends in whole exchanges or none, and nothing raises."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from envoy_sidecar.pb import ext_proc_pb2
from envoy_sidecar.transport.port import Peer
from envoy_tap.core.assembly import Assembler, Limits
from envoy_tap.core.events import Event, Loss, StreamEnd
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Limits as SessionLimits
from envoy_tap.drivers.ext_proc import METADATA, Introduction
from envoy_tap.drivers.processor import Processor
from tests.tap.building import NODE, session

TAP = "aaaaaaaaaaaa"
SESSION = session(TAP, "path^=/orders", limits=SessionLimits(body_bytes=4))


@dataclass
class Taken:
    """What a collector would make of it."""

    lost: list[Loss] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    ended: int = 0
    streams: int = 0

    def __post_init__(self) -> None:
        self.assembler = Assembler(Limits(), self.lost.append)

    def next_stream(self) -> int:
        self.streams += 1
        return self.streams

    def feed(self, event: Event) -> None:
        self.ended += isinstance(event, StreamEnd)
        self.exchanges += self.assembler.feed(event, 1.0)


async def processed(
    payloads: Sequence[bytes], introduction: str = "", policy: Policy | None = None
) -> tuple[Taken, int]:
    """Return what came of a call that sends *payloads*, and how many of them were read."""
    taken, read = Taken(), 0
    said = introduction or Introduction(NODE, (TAP,)).written()

    async def requests() -> AsyncIterator[bytes]:
        nonlocal read
        for payload in payloads:
            read += 1
            yield payload

    processor = Processor(taken, lambda: [SESSION], policy or Policy())
    answers = processor.process(requests(), Peer("ipv4:127.0.0.1:1", {METADATA: said}))
    assert [answer async for answer in answers] == []
    return taken, read


def headers(side: str, *pairs: tuple[str, str], ends: bool = False) -> bytes:
    request = ext_proc_pb2.ProcessingRequest()
    part = getattr(request, f"{side}_headers")
    part.end_of_stream = ends
    for name, value in pairs:
        part.headers.headers.add(key=name, raw_value=value.encode())
    return request.SerializeToString()


def body(side: str, data: bytes, *, ends: bool = False) -> bytes:
    request = ext_proc_pb2.ProcessingRequest()
    part = getattr(request, f"{side}_body")
    part.body, part.end_of_stream = data, ends
    return request.SerializeToString()


ASKED = headers("request", (":path", "/orders/1"), ends=True)
ANSWERED = headers("response", (":status", "200"))


async def test_an_exchange_is_whole_when_its_answer_is_and_the_call_ends_there() -> None:
    taken, read = await processed([ASKED, ANSWERED, body("response", b"ab", ends=True), b"never read"])
    (found,) = taken.exchanges
    assert (found.truncated, found.incomplete, read) == (False, False, 3)
    assert found.response is not None
    assert found.response.body == b"ab"


async def test_a_call_that_breaks_off_gives_what_there_was_at_once() -> None:
    taken, _ = await processed([ASKED, ANSWERED, body("response", b"ab")])
    assert [each.incomplete for each in taken.exchanges] == [True]
    assert taken.assembler.open_exchanges == 0


async def test_an_answer_before_the_request_has_ended_cuts_the_request() -> None:
    asked = headers("request", (":path", "/orders/1"))
    taken, _ = await processed(
        [asked, body("request", b"ab"), headers("response", (":status", "413"), ends=True)]
    )
    assert [(each.truncated, each.incomplete) for each in taken.exchanges] == [(True, False)]


async def test_a_request_over_the_cap_is_read_on_for_its_answer_but_not_for_ever() -> None:
    asked, mebibyte = headers("request", (":path", "/orders/1")), body("request", b"x" * (1 << 20))
    taken, read = await processed([asked, mebibyte, ANSWERED, body("response", b"", ends=True)])
    assert [(each.truncated, each.incomplete, read) for each in taken.exchanges] == [(True, False, 4)]
    taken, read = await processed([asked, *[mebibyte] * 9])
    assert [(each.truncated, each.incomplete, read) for each in taken.exchanges] == [(True, True, 3)]


async def test_a_call_that_nobody_wants_ends_at_once() -> None:
    other = headers("request", (":path", "/other"))
    assert (await processed([other, ANSWERED]))[1] == 1
    assert (await processed([ASKED, ANSWERED], policy=Policy(never_paths=("/orders/**",))))[1] == 1
    gone = Introduction(NODE, ("bbbbbbbbbbbb",)).written()
    assert (await processed([ASKED, ANSWERED], gone))[1] == 0
    assert (await processed([ASKED, ANSWERED], "not an introduction"))[1] == 0


parts = st.sampled_from([ASKED, ANSWERED, headers("request"), headers("response", ends=True)]) | st.builds(
    body, st.sampled_from(["request", "response"]), st.binary(max_size=10), ends=st.booleans()
)


@given(st.lists(parts | st.binary(max_size=30), max_size=12))
async def test_whatever_comes_in_whatever_order_nothing_raises_and_nothing_stays(
    payloads: list[bytes],
) -> None:
    taken, _ = await processed(payloads)
    assert taken.ended == 1
    assert taken.assembler.open_exchanges == 0
    assert all(each.tap_id == TAP for each in taken.exchanges)
