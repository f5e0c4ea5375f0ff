"""What is said of what is in a bucket."""

import pytest

from envoy_ratelimit.commands.states import State, peek
from envoy_ratelimit.config.inline import load_text
from envoy_ratelimit.core.limiter import Limiter
from envoy_ratelimit.stores.memory import MemoryStore

DESCRIPTORS = [(("user", "ann"),)]


@pytest.mark.parametrize("algorithm", ["token_bucket", "fixed_window", "sliding_window"])
def test_a_bucket_is_said_to_be_full_that_is(algorithm: str) -> None:
    limit = f"unit: minute, requests_per_unit: 6, algorithm: {algorithm}"
    rules = load_text(f"domain: edge\ndescriptors: [{{key: user, rate_limit: {{{limit}}}}}]").rules
    limiter = Limiter(rules, MemoryStore(clock=lambda: 1_000_000))
    assert list(map(str, peek(limiter, "edge", DESCRIPTORS))) == ["bucket of user: 6 of 6 left, full"]
    assert [state.full_in_s for state in peek(limiter, "edge", DESCRIPTORS) if isinstance(state, State)] == [
        0
    ]
    limiter.decide([("edge", [(DESCRIPTORS[0], 2, None)], 0)])
    (state,) = map(str, peek(limiter, "edge", DESCRIPTORS))
    assert state.startswith("bucket of user: 4 of 6 left, full in ")


def test_a_ban_is_not_full() -> None:
    rules = load_text(
        "domain: edge\ndescriptors: [{key: user, rate_limit: {unit: day, requests_per_unit: 0}}]"
    ).rules
    states = peek(Limiter(rules, MemoryStore()), "edge", DESCRIPTORS)
    assert list(map(str, states)) == ["bucket of user: 0 of 0 left"]
