"""Exchanges come out whole whatever the order of their pieces, and nothing that is sent makes the assembler grow."""

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from envoy_tap.core.assembly import Assembler, Limits
from envoy_tap.core.events import Event, Key, Kind, Loss, Piece, Side, StreamEnd, WholeTrace
from envoy_tap.core.exchange import Exchange, Message, Node
from tests.tap.building import KEY, NODE, REQUEST, RESPONSE, pieces


class Assembly:
    """An assembler with a record of what it lost."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.lost: Counter[Loss] = Counter()
        self.assembler = Assembler(limits or Limits(), lambda loss: self.lost.update([loss]))

    def feed(self, *events: Event, now_s: float = 0.0) -> list[Exchange]:
        return [done for event in events for done in self.assembler.feed(event, now_s)]

    @property
    def is_empty(self) -> bool:
        return self.assembler.held_bytes == 0 and self.assembler.open_exchanges == 0


def whole(stream: int, side: Side, message: Message, key: Key = KEY) -> list[Event]:
    return [*pieces(side, message, stream=stream, key=key), StreamEnd(stream)]


def test_two_halves_on_two_streams_are_one_exchange() -> None:
    assembly = Assembly()
    assert assembly.feed(*whole(0, Side.REQUEST, REQUEST), now_s=10.0) == []
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE), now_s=12.0)
    assert done == Exchange("tap-1", NODE, 7, REQUEST, RESPONSE, 10.0, 12.0)
    assert assembly.is_empty
    assert not assembly.lost


def test_the_response_may_come_first() -> None:
    assembly = Assembly()
    assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    (done,) = assembly.feed(*whole(0, Side.REQUEST, REQUEST))
    assert (done.request, done.response, done.incomplete) == (REQUEST, RESPONSE, False)


def test_both_halves_may_share_a_stream() -> None:
    assembly = Assembly()
    (done,) = assembly.feed(*pieces(Side.REQUEST, REQUEST), *pieces(Side.RESPONSE, RESPONSE), StreamEnd(0))
    assert (done.request, done.response, done.incomplete) == (REQUEST, RESPONSE, False)


def test_a_body_that_comes_before_its_headers_is_kept() -> None:
    assembly = Assembly()
    headers, body, trailers = pieces(Side.REQUEST, REQUEST)
    assembly.feed(trailers, body, headers, StreamEnd(0))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert (done.request, done.incomplete) == (REQUEST, False)


def test_halves_of_two_proxies_taps_or_traces_are_not_mixed() -> None:
    assembly = Assembly()
    others = [
        replace(KEY, trace_id=8),
        replace(KEY, tap_id="tap-2"),
        replace(KEY, node=Node("edge-2", "edge")),
        replace(KEY, node=Node("edge-1", "other")),
    ]
    assembly.feed(*whole(0, Side.REQUEST, REQUEST))
    for stream, key in enumerate(others, 1):
        assert assembly.feed(*whole(stream, Side.RESPONSE, RESPONSE, key)) == []
    assert assembly.assembler.open_exchanges == 5


def test_a_key_used_twice_at_a_time_gives_two_exchanges_in_order() -> None:
    assembly = Assembly()
    second = replace(REQUEST, body=b"second")
    assembly.feed(*whole(0, Side.REQUEST, REQUEST), *whole(1, Side.REQUEST, second))
    done = assembly.feed(*whole(2, Side.RESPONSE, RESPONSE), *whole(3, Side.RESPONSE, RESPONSE))
    assert [each.request for each in done] == [REQUEST, second]
    assert assembly.is_empty


def test_a_reset_stream_makes_its_exchange_incomplete() -> None:
    assembly = Assembly()
    assembly.feed(*pieces(Side.REQUEST, REQUEST), StreamEnd(0, clean=False))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert done.incomplete
    assert done.request == REQUEST


def test_a_half_without_headers_makes_its_exchange_incomplete() -> None:
    assembly = Assembly()
    assembly.feed(Piece(0, KEY, Side.REQUEST, Kind.BODY, data=b"x"), StreamEnd(0))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert done.incomplete


def test_a_half_that_never_comes_is_given_up_after_the_wait() -> None:
    assembly = Assembly(Limits(timeout_s=60))
    assembly.feed(*whole(0, Side.REQUEST, REQUEST), now_s=100.0)
    assert assembly.assembler.expire(159.9) == []
    (done,) = assembly.assembler.expire(160.0)
    assert (done.request, done.response, done.incomplete) == (REQUEST, None, True)
    assert assembly.is_empty


def test_a_stream_that_stalls_is_given_up_and_the_rest_of_it_opens_nothing() -> None:
    assembly = Assembly(Limits(timeout_s=60))
    assembly.feed(*pieces(Side.REQUEST, REQUEST), now_s=100.0)
    (done,) = assembly.assembler.expire(160.0)
    assert done.incomplete
    late = Piece(0, KEY, Side.REQUEST, Kind.BODY, data=b"late")
    assert assembly.feed(late, StreamEnd(0), now_s=161.0) == []
    assert assembly.is_empty


def test_each_piece_starts_the_wait_again() -> None:
    assembly = Assembly(Limits(timeout_s=60))
    assembly.feed(*pieces(Side.REQUEST, REQUEST), now_s=100.0)
    assembly.feed(Piece(0, KEY, Side.REQUEST, Kind.BODY, data=b"more"), now_s=150.0)
    assert assembly.assembler.expire(160.0) == []
    assert len(assembly.assembler.expire(210.0)) == 1


def test_a_stalled_half_still_finds_the_one_that_waits_for_it() -> None:
    assembly = Assembly(Limits(timeout_s=60))
    assembly.feed(*pieces(Side.RESPONSE, RESPONSE, stream=1), now_s=100.0)
    assembly.feed(*whole(0, Side.REQUEST, REQUEST), now_s=150.0)
    (done,) = assembly.assembler.expire(160.0)
    assert (done.request, done.response, done.incomplete) == (REQUEST, RESPONSE, True)


def test_flush_gives_out_everything_oldest_first() -> None:
    assembly = Assembly()
    assembly.feed(*whole(0, Side.REQUEST, REQUEST, replace(KEY, trace_id=2)), now_s=2.0)
    assembly.feed(*pieces(Side.REQUEST, REQUEST, stream=1), now_s=1.0)
    done = assembly.assembler.flush()
    assert [each.started_s for each in done] == [1.0, 2.0]
    assert all(each.incomplete for each in done)
    assert assembly.is_empty


def test_a_body_over_the_cap_is_cut_and_marked() -> None:
    assembly = Assembly(Limits(max_body_bytes=6))
    assembly.feed(*pieces(Side.REQUEST, REQUEST, chunks=[b"1234", b"5678", b"9"]), StreamEnd(0))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert done.request is not None
    assert (done.request.body, done.truncated, done.incomplete) == (b"123456", True, False)


def test_a_body_of_exactly_the_cap_is_not_truncated() -> None:
    assembly = Assembly(Limits(max_body_bytes=4))
    assembly.feed(*whole(0, Side.REQUEST, REQUEST))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert not done.truncated


def test_what_the_proxy_cut_is_marked() -> None:
    for kind in Kind:
        assembly = Assembly()
        cut = [replace(piece, truncated=piece.kind is kind) for piece in pieces(Side.REQUEST, REQUEST)]
        assembly.feed(*cut, StreamEnd(0))
        (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
        assert done.truncated


def test_second_headers_and_trailers_are_dropped_and_counted() -> None:
    assembly = Assembly()
    other = Message((("x", b"forged"),), b"", (("y", b"forged"),))
    assembly.feed(*pieces(Side.REQUEST, REQUEST), *pieces(Side.REQUEST, other), StreamEnd(0))
    (done,) = assembly.feed(*whole(1, Side.RESPONSE, RESPONSE))
    assert done.request == REQUEST
    assert assembly.lost == {Loss.DUPLICATE: 2}


def test_an_exchange_too_many_is_dropped_whole_and_counted_once() -> None:
    assembly = Assembly(Limits(max_open=1))
    assembly.feed(*whole(0, Side.REQUEST, REQUEST))
    assert assembly.feed(*whole(1, Side.REQUEST, REQUEST, replace(KEY, trace_id=8))) == []
    assert assembly.lost == {Loss.OPEN_EXCHANGES: 1}
    assert len(assembly.feed(*whole(2, Side.RESPONSE, RESPONSE))) == 1
    assert assembly.is_empty


def test_a_stream_is_taken_again_once_there_is_room() -> None:
    assembly = Assembly(Limits(max_open=1))
    assembly.feed(*whole(0, Side.REQUEST, REQUEST))
    assembly.feed(*pieces(Side.REQUEST, REQUEST, stream=1, key=replace(KEY, trace_id=8)))
    assembly.feed(*whole(2, Side.RESPONSE, RESPONSE))
    assembly.feed(*whole(1, Side.REQUEST, REQUEST, replace(KEY, trace_id=9)))
    assert assembly.assembler.open_exchanges == 1


def test_what_does_not_fit_in_memory_is_cut_and_counted() -> None:
    assembly = Assembly(Limits(max_total_bytes=4096))
    assembly.feed(*pieces(Side.REQUEST, REQUEST, chunks=[bytes(10_000)]), StreamEnd(0))
    (done,) = assembly.assembler.flush()
    assert done.truncated
    assert done.request is not None
    assert 0 < len(done.request.body) < 4096
    # The body, and the trailers that came after it.
    assert assembly.lost == {Loss.TOTAL_BYTES: 2}
    assert assembly.is_empty


def test_headers_that_do_not_fit_in_memory_are_left_out_and_marked() -> None:
    assembly = Assembly(Limits(max_total_bytes=4096))
    long = Message((("x", bytes(10_000)),))
    assembly.feed(*whole(0, Side.REQUEST, long))
    (done,) = assembly.assembler.flush()
    assert (done.request, done.truncated) == (Message(), True)


def test_a_whole_trace_passes_through_capped() -> None:
    assembly = Assembly(Limits(max_body_bytes=4))
    big = replace(RESPONSE, body=b"12345")
    (done,) = assembly.feed(WholeTrace(KEY, REQUEST, big, started_s=3.0), now_s=5.0)
    assert (done.request, done.started_s, done.finished_s) == (REQUEST, 3.0, 5.0)
    assert done.response is not None
    assert (done.response.body, done.truncated, done.incomplete) == (b"1234", True, False)
    (done,) = assembly.feed(WholeTrace(KEY, REQUEST, None), now_s=5.0)
    assert (done.started_s, done.truncated, done.incomplete) == (5.0, False, True)


chunked = st.lists(st.binary(max_size=9), max_size=6)


@given(st.data(), chunked, chunked, st.booleans())
def test_any_split_and_interleaving_gives_the_same_exchange(
    data: st.DataObject, asked: list[bytes], answered: list[bytes], shared: bool
) -> None:
    request = replace(REQUEST, body=b"".join(asked))
    response = replace(RESPONSE, body=b"".join(answered))
    queues: list[list[Event]] = [
        [*pieces(Side.REQUEST, request, stream=0, chunks=asked)],
        [*pieces(Side.RESPONSE, response, stream=0 if shared else 1, chunks=answered)],
    ]
    if not shared:
        queues[0].append(StreamEnd(0))
        queues[1].append(StreamEnd(1))
    assembly = Assembly()
    done: list[Exchange] = []
    while any(queues):
        queue = data.draw(st.sampled_from([queue for queue in queues if queue]))
        done += assembly.feed(queue.pop(0))
    if shared:
        done += assembly.feed(StreamEnd(0))
    assert done == [Exchange("tap-1", NODE, 7, request, response, 0.0, 0.0)]
    assert assembly.is_empty


names = st.text(alphabet="aé\U0001d51e", max_size=3)
hostile_piece = st.builds(
    Piece,
    stream=st.integers(0, 5),
    key=st.builds(Key, st.builds(Node, names, names), names, st.integers(0, 3)),
    side=st.sampled_from(Side),
    kind=st.sampled_from(Kind),
    pairs=st.lists(st.tuples(names, st.binary(max_size=400)), max_size=4).map(tuple),
    data=st.integers(0, 3000).map(bytes),
    truncated=st.booleans(),
)
hostile: st.SearchStrategy[Event] = hostile_piece | st.builds(StreamEnd, st.integers(0, 5), st.booleans())


@given(st.lists(st.tuples(hostile, st.integers(0, 3)), max_size=60))
def test_no_flood_makes_it_hold_more_than_its_limits(flood: list[tuple[Event, int]]) -> None:
    limits = Limits(max_body_bytes=2000, max_open=4, max_total_bytes=8192, timeout_s=5)
    assembly = Assembly(limits)
    now_s = 0.0
    for event, later_s in flood:
        now_s += later_s
        given_out = [*assembly.feed(event, now_s=now_s), *assembly.assembler.expire(now_s)]
        assert assembly.assembler.held_bytes <= limits.max_total_bytes
        assert assembly.assembler.open_exchanges <= limits.max_open
        assert all(each.size_bytes <= limits.max_total_bytes for each in given_out)
    assembly.assembler.flush()
    assert assembly.is_empty


def test_a_flood_of_streams_that_never_end_stays_within_the_limits() -> None:
    limits = Limits(max_open=100, max_total_bytes=1 << 20)
    assembly = Assembly(limits)
    for stream in range(3000):
        key = replace(KEY, trace_id=stream)
        assembly.feed(*pieces(Side.REQUEST, replace(REQUEST, body=bytes(5000)), stream=stream, key=key))
    assert assembly.assembler.open_exchanges == 100
    assert assembly.assembler.held_bytes <= limits.max_total_bytes
    assert assembly.lost[Loss.OPEN_EXCHANGES] == 2900


def test_a_flood_under_one_key_stays_within_the_limits() -> None:
    limits = Limits(max_total_bytes=1 << 20)
    assembly = Assembly(limits)
    for stream in range(3000):
        assembly.feed(*whole(stream, Side.REQUEST, Message()))
    assert assembly.assembler.held_bytes <= limits.max_total_bytes
    assert assembly.lost[Loss.TOTAL_BYTES] > 1000
