"""The circuit breaker, state by state, and what keeps connections behind it."""

import threading
from collections.abc import Callable
from itertools import pairwise
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores.breaker import BASE_DELAY_S, MAX_DELAY_S, SETTLED_S, Breaker, State
from envoy_ratelimit.stores.keeper import Keeper

WAIT_S = 10


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def breaker_at(clock: Clock) -> Breaker:
    return Breaker(clock, spread=lambda: 1.0)


def state_of(breaker: Breaker) -> State:
    """The state, without what mypy believes to know of it."""
    return breaker.state


def test_it_is_closed_until_the_first_failure_and_may_be_probed_at_once_then() -> None:
    breaker = breaker_at(Clock())
    assert state_of(breaker) is State.CLOSED
    breaker.failed()
    assert state_of(breaker) is State.OPEN
    assert breaker.probe_in_s() == 0


def test_each_failure_doubles_the_delay_up_to_a_second() -> None:
    breaker = breaker_at(Clock())
    delays = []
    for _ in range(40):
        breaker.failed()
        delays.append(breaker.probe_in_s())
    assert delays[:4] == pytest.approx([0, BASE_DELAY_S, 2 * BASE_DELAY_S, 4 * BASE_DELAY_S])
    assert max(delays) == pytest.approx(MAX_DELAY_S)
    assert all(earlier <= later + 1e-9 for earlier, later in pairwise(delays))


def test_a_good_probe_lets_one_batch_try_and_its_success_closes() -> None:
    breaker = breaker_at(Clock())
    breaker.failed()
    breaker.probed()
    assert state_of(breaker) is State.HALF_OPEN
    breaker.succeeded()
    assert state_of(breaker) is State.CLOSED


def test_a_trial_that_fails_opens_again_for_longer() -> None:
    breaker = breaker_at(Clock())
    breaker.failed()
    breaker.probed()
    breaker.failed()
    assert state_of(breaker) is State.OPEN
    assert breaker.probe_in_s() == pytest.approx(BASE_DELAY_S)


def test_a_success_that_does_not_last_does_not_shorten_the_delay() -> None:
    clock = Clock()
    breaker = breaker_at(clock)
    for _ in range(3):
        breaker.failed()
    breaker.probed()
    breaker.succeeded()
    clock.now_s += SETTLED_S / 2
    breaker.failed()
    assert breaker.failures == 4
    breaker.probed()
    breaker.succeeded()
    clock.now_s += SETTLED_S
    breaker.failed()
    assert breaker.failures == 1
    assert breaker.probe_in_s() == 0


def test_a_failure_long_after_a_good_probe_is_the_first_one_though_nobody_tried() -> None:
    clock = Clock()
    breaker = breaker_at(clock)
    for _ in range(9):
        breaker.failed()
        breaker.probed()
        clock.now_s += SETTLED_S
    breaker.failed()
    assert breaker.failures == 1


def test_the_delay_is_spread_by_chance() -> None:
    breaker = Breaker(Clock(), spread=lambda: 0.5)
    breaker.failed()
    breaker.failed()
    assert breaker.probe_in_s() == pytest.approx(BASE_DELAY_S / 2)


EVENTS = st.lists(
    st.tuples(st.sampled_from(["failed", "probed", "succeeded"]), st.floats(0, 3, allow_nan=False)),
    max_size=60,
)


@given(EVENTS)
def test_in_every_order_of_events_only_a_failure_opens_and_only_a_probe_leads_back(
    events: list[tuple[str, float]],
) -> None:
    clock = Clock()
    breaker = breaker_at(clock)
    for event, pause_s in events:
        clock.now_s += pause_s
        before = breaker.state
        getattr(breaker, event)()
        after = breaker.state
        if event == "failed":
            assert after is State.OPEN
        elif event == "probed":
            assert after is (State.HALF_OPEN if before is State.OPEN else before)
        else:
            assert after is (State.CLOSED if before is State.HALF_OPEN else before)
        assert 0 <= breaker.probe_in_s() <= MAX_DELAY_S


class Thing:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def soon_s(seconds: float = WAIT_S) -> float:
    return monotonic() + seconds


def test_it_is_made_when_it_is_needed_and_again_in_the_background_when_it_was_lost() -> None:
    made: list[Thing] = []
    again = threading.Event()

    def make() -> Thing:
        made.append(Thing())
        if len(made) > 1:
            again.set()
        return made[-1]

    keeper = Keeper("a server", make)
    assert keeper.get(soon_s()) is made[0]
    keeper.lost(StoreError("timeout", "late"))
    assert made[0].closed.is_set()
    assert again.wait(WAIT_S)
    until(lambda: keeper.breaker.state is State.HALF_OPEN)
    assert keeper.get(soon_s()) is made[1]
    keeper.proven()
    assert keeper.breaker.state is State.CLOSED
    keeper.close()
    assert made[1].closed.is_set()


def test_what_is_renewed_is_waited_for_and_was_no_failure() -> None:
    made: list[Thing] = []
    go = threading.Event()
    go.set()

    def make() -> Thing:
        go.wait(WAIT_S)
        made.append(Thing())
        return made[-1]

    keeper = Keeper("renewed", make)
    assert keeper.get(soon_s()) is made[0]
    go.clear()
    keeper.renew("it was closed")
    assert made[0].closed.is_set()
    assert (keeper.kept, keeper.why_down()) == (None, "")
    threading.Timer(0.01, go.set).start()
    assert keeper.get(soon_s()) is made[1]
    assert keeper.breaker.state is State.CLOSED
    keeper.close()


def test_while_it_cannot_be_made_nobody_waits_and_one_thread_tries() -> None:
    entered, go = threading.Event(), threading.Event()

    def make() -> Thing:
        entered.set()
        go.wait(WAIT_S)
        raise StoreError("connection", "refused: no such host")

    keeper = Keeper("nobody", make)
    with pytest.raises(StoreError, match="nobody is not asked: nobody did not answer in time"):
        keeper.get(soon_s(0.01))
    assert entered.is_set()
    before = threading.active_count()
    for _ in range(100):
        with pytest.raises(StoreError) as caught:
            keeper.get(soon_s())
        assert caught.value.kind == "open"
    assert threading.active_count() == before
    keeper.close()
    go.set()


def test_what_comes_after_the_end_is_closed() -> None:
    entered, go = threading.Event(), threading.Event()
    thing = Thing()

    def make() -> Thing:
        entered.set()
        go.wait(WAIT_S)
        return thing

    keeper = Keeper("late", make)
    keeper.start()
    assert entered.wait(WAIT_S)
    keeper.close()
    go.set()
    assert thing.closed.wait(WAIT_S)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_does_not_end_the_attempts() -> None:
    thing = Thing()
    attempts: list[int] = []

    def make() -> Thing:
        attempts.append(1)
        if len(attempts) < 3:
            raise ZeroDivisionError
        assert keeper.why_down() == "ZeroDivisionError"
        return thing

    keeper = Keeper("faulty", make)
    assert keeper.why_down() == ""
    keeper.start()
    until(lambda: keeper.breaker.state is State.HALF_OPEN)
    assert keeper.why_down() == ""
    assert keeper.get(soon_s()) is thing
    keeper.close()


def until(condition: Callable[[], bool], seconds: float = WAIT_S) -> None:
    deadline_s = soon_s(seconds)
    pause = threading.Event()
    while not condition():
        assert soon_s(0) < deadline_s, "it took too long"
        pause.wait(0.005)
