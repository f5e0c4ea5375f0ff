"""When keys are fetched: ahead of expiry, later and later while it fails, and not too often for unknown keys."""

from hypothesis import given
from hypothesis import strategies as st

from envoy_authz.tokens.schedule import Schedule, Timing

TIMING = Timing()


def schedule(jitter: float = 0.0) -> Schedule:
    return Schedule(TIMING, lambda: jitter)


def test_the_first_fetch_is_at_once() -> None:
    assert schedule().next_s < 0


def test_a_refresh_comes_ahead_of_expiry_and_stale_keys_end() -> None:
    made = schedule()
    made.began(100)
    made.succeeded(100, 1000)
    assert made.next_s == 1000
    assert made.stale_at_s == 1100 + TIMING.stale_s
    spread = schedule(1.0)
    spread.succeeded(100, 1000)
    assert 800 <= spread.next_s < 801


def test_what_the_issuer_says_is_taken_within_bounds() -> None:
    for said, fresh_s in ((0, 60), (1e9, 3600), (None, 300)):
        made = schedule()
        made.succeeded(0, said)
        assert made.stale_at_s == fresh_s + TIMING.stale_s


def test_failures_are_retried_later_and_later_up_to_a_minute() -> None:
    made = schedule()
    waits = []
    for _ in range(80):
        made.failed(0)
        waits.append(made.next_s)
    assert waits[:8] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert waits[-1] == 60
    made.succeeded(0, None)
    assert made.failures == 0


def test_an_unknown_key_is_looked_up_once_in_a_cool_down() -> None:
    made = schedule()
    made.began(100)
    made.succeeded(100, 1000)
    made.wanted()
    assert made.next_s == 110
    made.began(110)
    made.succeeded(110, 1000)
    made.wanted()
    made.wanted()
    assert made.next_s == 120


def test_an_unknown_key_does_not_hurry_a_retry() -> None:
    made = schedule()
    for _ in range(9):
        made.began(0)
        made.failed(0)
    made.wanted()
    assert made.next_s == 60


@given(st.lists(st.sampled_from(["ok", "fail", "want"])), st.floats(0, 1))
def test_fetches_are_never_more_frequent_than_the_shortest_wait(events: list[str], jitter: float) -> None:
    made = Schedule(TIMING, lambda: jitter)
    now_s, last_s = 0.0, -1e9
    for event in events:
        if event == "want":
            made.wanted()
            continue
        now_s = max(now_s, made.next_s)
        assert now_s - last_s >= TIMING.retry_s / 2
        last_s = now_s
        made.began(now_s)
        if event == "ok":
            made.succeeded(now_s, None)
        else:
            made.failed(now_s)
