"""The demo itself, run as a user runs it: it shows, it judges, it ends, and it leaves nothing behind."""

import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from envoy_demo import configs
from envoy_demo.client import get
from envoy_demo.ports import free_port
from envoy_demo.processes import Process, Processes

TIMEOUT_SECONDS = 90
DEMO = [sys.executable, "-m", "envoy_demo"]
NARROW = {"COLUMNS": "80"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def test_once_shows_each_service_at_work_and_ends_with_0(processes: Processes) -> None:
    demo = processes.start("demo", [*DEMO, "--once"], NARROW)
    assert demo.wait(TIMEOUT_SECONDS) == 0, demo.log_text()
    shown = demo.log_text()
    for heading in ("sent", "came back", "decided by", "why"):
        assert heading in shown
    for what in (
        *("authz", "no_policy_matched", "denied_by_policy", "(demo/no-exports)"),
        *("ratelimit", "5 x 200", "2 x 429", "over the limit of 5"),
        *("tap: not captured", "tap: authorization:", "[redacted]"),
        "All 10 came out as they should.",
    ):
        assert what in shown
    assert "FAIL" not in shown
    assert "\x1b" not in shown, "escape sequences in a log"
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_a_policy_that_allows_too_much_fails_the_demo(processes: Processes, tmp_path: Path) -> None:
    broken = tmp_path / "envoy-configs"
    shutil.copytree(configs.folder(), broken)
    policy = broken / "examples" / "policies" / "public.yaml"
    policy.write_text(policy.read_text().replace('"/public/*"', '"/public/*", "/admin/*"'))
    demo = processes.start("demo", [*DEMO, "--once"], {"ENVOY_CONFIGS": str(broken)})
    assert demo.wait(TIMEOUT_SECONDS) == 1, demo.log_text()
    assert "2 FAIL" in demo.log_text()
    assert "row 2 (Administration needs an identity): expected (403,), got (200,)" in demo.log_text()
    assert "came out as they should" not in demo.log_text()


def test_expectations_that_are_not_met_fail_the_demo(processes: Processes) -> None:
    unmet = (
        (0, "statuses=(418,)", "expected (418,), got (200,)"),
        (0, "captured=True", "it was not captured: Envoy did not call the tap service"),
        (9, "captured=False", "Envoy sent it to the tap service, but it is not targeted"),
        (1, "decided_by=Decider.RATELIMIT", "expected ratelimit to decide, not authz"),
    )
    code = (
        "from dataclasses import replace; from envoy_demo import cli;"
        "from envoy_demo.scenario import Decider;"
        f"cli.STEPS = ({''.join(f'replace(cli.STEPS[{row}], {change}),' for row, change, _ in unmet)});"
        "cli.main()"
    )
    demo = processes.start("demo", [sys.executable, "-c", code, "--once"])
    assert demo.wait(TIMEOUT_SECONDS) == 1, demo.log_text()
    assert "4 FAIL" in demo.log_text()
    for number, (_, _, problem) in enumerate(unmet, 1):
        assert any(f"row {number} " in line and problem in line for line in demo.log_text().splitlines())


def test_a_service_that_does_not_start_fails_the_demo_with_its_own_words(
    processes: Processes, tmp_path: Path
) -> None:
    broken = tmp_path / "envoy-configs"
    shutil.copytree(configs.folder(), broken)
    (broken / "examples" / "limits" / "edge.yaml").write_text("domain: edge\ndescriptor: []\n")
    demo = processes.start("demo", [*DEMO, "--once"], {"ENVOY_CONFIGS": str(broken)})
    assert demo.wait(TIMEOUT_SECONDS) == 1
    assert "The demo failed: ratelimit ended with 2" in demo.log_text()
    assert "edge.yaml:2:1" in demo.log_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_stays_up_until_a_signal_and_leaves_nothing_running(
    processes: Processes, number: signal.Signals
) -> None:
    port = free_port()
    demo = processes.start("demo", ["/usr/bin/env", "-u", "COLUMNS", *DEMO], {"DEMO_PORT": str(port)})
    demo.until_logged("Everything stays up until Ctrl-C", TIMEOUT_SECONDS)
    assert f"curl -i http://127.0.0.1:{port}/public/hello" in demo.log_text()
    assert get(port, "/public/hello").status == 200
    # A log without a width is not cut.
    shown, came_out, _ = demo.log_text().partition("All 10 came out as they should.")
    assert came_out
    assert "denied: no AuthorizationPolicy\n" not in shown
    assert max(len(line) for line in shown.splitlines()) == 100
    with ExitStack() as closing:
        children = [os.pidfd_open(pid) for pid in descendants(demo)]
        for child in children:
            closing.callback(os.close, child)
        # Upstream, three services, Envoy.
        assert len(children) == 5
        demo.signal(number)
        assert demo.wait(TIMEOUT_SECONDS) == 0, demo.log_text()
        assert all(has_ended(child) for child in children)
    assert "Ended; nothing is left running." in demo.log_text()


def test_it_ends_when_a_program_ends_by_itself(processes: Processes) -> None:
    demo = processes.start("demo", DEMO)
    demo.until_logged("Everything stays up until Ctrl-C", TIMEOUT_SECONDS)
    os.kill(descendants(demo)[-1], signal.SIGKILL)
    assert demo.wait(TIMEOUT_SECONDS) == 1
    assert "ended by itself" in demo.log_text()


def descendants(process: Process) -> list[int]:
    """Return the children of *process*, and theirs, in the order in which they were started."""

    def children(pid: int) -> list[int]:
        own = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [each for child in own for each in (child, *children(child))]

    return children(process.pid)


def has_ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))
