"""The library: limits in a plain Python program."""

import doctest
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import envoy_ratelimit
from envoy_demo.processes import Processes
from envoy_demo.valkey import Valkey
from envoy_ratelimit import Decision, RateLimiter, library
from envoy_sidecar.config.findings import InvalidConfigurationError
from tests.ratelimit.servers import start_server

LIMITS = """
domain: api
descriptors:
  - key: user
    rate_limit: {{ unit: day, requests_per_unit: {allowed} }}
  - key: path
    rate_limit: {{ unit: day, requests_per_unit: 100 }}
  - key: banned
    rate_limit: {{ unit: day, requests_per_unit: 0 }}
"""


@pytest.fixture
def limits(tmp_path: Path) -> Path:
    file = tmp_path / "limits.yaml"
    file.write_text(LIMITS.format(allowed=2), "utf-8")
    return file


def left(decision: Decision) -> list[int | None]:
    return [None if state is None else state.remaining for state in decision.limits]


def test_its_documentation_is_true() -> None:
    assert doctest.testmod(library) == (0, 7)


def test_five_lines_are_a_program(limits: Path) -> None:
    program = (
        "from envoy_ratelimit import RateLimiter\n"
        f"limiter = RateLimiter({str(limits)!r})\n"
        'decision = limiter.check("api", {"user": "alice"})\n'
        "if decision.allowed:\n"
        "    print(decision.limits[0].remaining)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"


def test_importing_the_package_costs_no_library() -> None:
    code = "import sys, envoy_ratelimit; sys.exit('envoy_ratelimit.library' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="Limiter"):
        _ = envoy_ratelimit.Limiter


def test_if_one_of_several_refuses_none_is_charged(limits: Path) -> None:
    with RateLimiter(limits) as limiter:
        both = ({"user": "ann"}, {"path": "/"})
        assert [limiter.check("api", *both).allowed for _ in range(3)] == [True, True, False]
        assert left(limiter.peek("api", *both)) == [0, 98]


def test_costs_peeks_and_hits_given_back(limits: Path) -> None:
    limiter = RateLimiter([limits])
    assert limiter.check("api", {"user": "ann"}, hits=2).allowed
    assert left(limiter.peek("api", {"user": "ann"})) == [0]
    limiter.give_back("api", {"user": "ann"})
    assert left(limiter.peek("api", {"user": "ann"})) == [1]
    too_much = limiter.check("api", {"user": "ann"}, hits=3)
    assert (too_much.allowed, too_much.retry_after_s) == (False, None)


def test_a_ban_and_no_limit(limits: Path) -> None:
    limiter = RateLimiter(limits)
    assert not limiter.check("api", {"banned": "x"}).allowed
    free = limiter.check("other", {"user": "ann"})
    assert (free.allowed, free.limits, free.retry_after_s) == (True, (None,), None)


def test_a_limit_that_is_replaced_passes_and_is_no_wait() -> None:
    limiter = RateLimiter.from_text("""
    domain: api
    descriptors:
      - key: base
        rate_limit: { unit: day, requests_per_unit: 1, name: base }
      - key: up
        rate_limit: { unit: day, requests_per_unit: 2, replaces: [{ name: base }] }
    """)
    first, _, third = (limiter.check("api", {"base": "x"}, {"up": "x"}) for _ in range(3))
    base, up = third.limits
    assert first.allowed
    assert not third.allowed
    assert base is not None
    assert up is not None
    assert (base.verdict, base.passed, base.limit) == ("replaced", True, "")
    assert up.reset_s is not None
    assert third.retry_after_s == up.reset_s


def test_of_several_quotas_one_is_enough_to_wait_for() -> None:
    limiter = RateLimiter.from_text("""
    domain: api
    descriptors:
      - { key: slow, quota_mode: true, rate_limit: { unit: year, requests_per_unit: 1 } }
      - { key: quick, quota_mode: true, rate_limit: { unit: day, requests_per_unit: 2 } }
      - { key: user, rate_limit: { unit: month, requests_per_unit: 3 } }
    """)
    quotas = ({"slow": "x"}, {"quick": "x"})
    limiter.check("api", *quotas)
    over_one = limiter.check("api", *quotas)
    assert [state.passed for state in over_one.limits if state is not None] == [False, True]
    assert (over_one.allowed, over_one.retry_after_s) == (True, None)
    over_both = limiter.check("api", *quotas)
    slow, quick = over_both.limits
    assert slow is not None
    assert quick is not None
    assert (over_both.allowed, over_both.retry_after_s) == (False, quick.reset_s)
    # Another quota has room: only the limit of the user is what the request waits for.
    limiter.check("api", {"user": "ann"}, hits=3)
    refused = limiter.check("api", {"slow": "x"}, {"quick": "fresh"}, {"user": "ann"})
    assert refused.limits[2] is not None
    assert (refused.allowed, refused.retry_after_s) == (False, refused.limits[2].reset_s)


def test_a_debt_refuses_a_peek_and_says_how_long() -> None:
    limiter = RateLimiter.from_text("""
    domain: api
    descriptors:
      - { key: bytes, rate_limit: { unit: day, requests_per_unit: 10, charge: always } }
    """)
    limiter.check("api", {"bytes": "x"}, hits=30)
    owed = limiter.peek("api", {"bytes": "x"})
    assert owed.limits[0] is not None
    assert (owed.allowed, owed.limits[0].verdict) == (False, "over_limit")
    assert owed.retry_after_s == owed.limits[0].reset_s is not None


@pytest.mark.parametrize("said", ["by the file", "by the program"])
def test_without_its_store_a_share_in_this_process_decides(said: str) -> None:
    text = "domain: api\ndescriptors: [{ key: user, rate_limit: { unit: day, requests_per_unit: 4%s } }]"
    in_file = ", on_store_failure: local" if said == "by the file" else ""
    with RateLimiter.from_text(
        text % in_file,
        store="redis://127.0.0.1:1",
        store_timeout_s=0.01,
        on_store_failure="deny" if in_file else "local",
        local_share=0.5,
    ) as limiter:
        allowed = [limiter.check("api", {"user": "ann"}).allowed for _ in range(2)]
        limiter.reload()
        assert [*allowed, limiter.check("api", {"user": "ann"}).allowed] == [True, True, False]
    with pytest.raises(ValueError, match="share"):
        RateLimiter.from_text(text % in_file, local_share=2)


def test_a_reload_holds_and_a_broken_one_does_not(limits: Path) -> None:
    limiter = RateLimiter(limits)
    limiter.check("api", {"path": "/"})
    limits.write_text(LIMITS.format(allowed=7), "utf-8")
    limiter.reload()
    assert left(limiter.peek("api", {"user": "ann"}, {"path": "/"})) == [7, 99]
    limits.write_text("domain: [", "utf-8")
    with pytest.raises(InvalidConfigurationError):
        limiter.reload()
    assert left(limiter.peek("api", {"user": "ann"})) == [7]


def test_threads_admit_together_what_the_limit_says() -> None:
    limiter = RateLimiter.from_text(LIMITS.format(allowed=100))
    allowed: list[bool] = []

    def work() -> None:
        allowed.extend(limiter.check("api", {"user": "ann"}).allowed for _ in range(50))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(allowed), sum(allowed)) == (400, 100)


def test_two_programs_share_redis(limits: Path, valkey: Valkey) -> None:
    limits.write_text(LIMITS.format(allowed=3), "utf-8")
    both = [RateLimiter(limits, store=valkey.url, store_timeout_s=5) for _ in range(2)]
    user = {"user": "library"}
    assert [both[turn % 2].check("api", user).allowed for turn in range(4)] == [True, True, True, False]
    for limiter in both:
        limiter.close()


def test_a_connection_that_redis_closed_meanwhile_loses_no_decision(limits: Path, tmp_path: Path) -> None:
    with Processes(tmp_path) as processes:
        server = start_server(processes)
        with RateLimiter(limits, store=server.url, store_timeout_s=5) as limiter:
            assert left(limiter.check("api", {"path": "/idle"})) == [99]
            server.ask("CLIENT", "KILL", "TYPE", "normal")
            server.until(lambda: server.ask("CLIENT", "LIST").count(" db=") == 1, "no client but this")
            assert left(limiter.check("api", {"path": "/idle"})) == [98]


def test_what_is_no_request_is_said(limits: Path) -> None:
    limiter = RateLimiter(limits)
    with pytest.raises(ValueError, match="at least one"):
        limiter.check("api")
    with pytest.raises(ValueError, match="domain"):
        limiter.check("", {"user": "ann"})
    for entries in ({"user": 42}, {42: "user"}):
        with pytest.raises(TypeError, match=r"descriptor \{.*42.*\}: keys and values are texts"):
            limiter.check("api", entries)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="mapping of keys to values, not str"):
        limiter.peek("api", "user=ann")  # type: ignore[arg-type]
    for hits in (0, -1):
        with pytest.raises(ValueError, match="hits"):
            limiter.check("api", {"user": "ann"}, hits=hits)
        with pytest.raises(ValueError, match="hits"):
            limiter.give_back("api", {"user": "ann"}, hits=hits)
    # As a cost, what is no number would stay in the bucket.
    for strange in (1.5, float("nan"), "2", None):
        for ask in (limiter.check, limiter.give_back):
            with pytest.raises(TypeError, match=f"hits: {strange!r} is not a whole number"):
                ask("api", {"user": "ann"}, hits=strange)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="domain: 5 is not a text"):
        limiter.peek(5, {"user": "ann"})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="store"):
        RateLimiter(limits, store="http://x")
