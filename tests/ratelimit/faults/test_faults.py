"""The store is stopped, paused, emptied and failed over under load: every request is answered, and in time.

A batch waits for the store for 10 ms in all, and a request may arrive just after a batch has set out: so 20 ms, and
MARGIN_S for what a busy machine adds to two processes and a load generator in Python. How long the service did not even
say that it lives is the machine's doing, and is allowed for.
"""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_ratelimit
from tests.ratelimit.asking import Admin
from tests.ratelimit.faults.load import CALLERS, LIMITS, Answers, Load, request, threads_and_files
from tests.ratelimit.servers import Server, add_replica, start_cluster, start_sentinels, start_server

DEADLINE_S = 0.010
MARGIN_S = 0.250
IDLE_THREADS = 4
"""The event loop's pool may grow by so many meanwhile; something left by each batch or probe would be hundreds."""
WIDE = request("wide", "x")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def serve(processes: Processes, url: str, *options: str) -> Service:
    limits = processes.folder / "limits.yaml"
    limits.write_text(LIMITS, "utf-8")
    service = start_ratelimit(processes, limits, url, options)
    service.wait_ready()
    return service


def assert_all_answered_in_time(answers: Answers) -> None:
    assert answers.errors == []
    assert answers.in_flight <= CALLERS
    assert answers.slowest_s <= 2 * DEADLINE_S + MARGIN_S + answers.stalled_s


def metric(service: Service, name: str, **labels: str) -> float:
    with urlopen(f"http://{LOOPBACK}:{service.admin_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    found = [line for line in lines if line.startswith(name) and all(label in line for label in wanted)]
    return sum(float(line.rpartition(" ")[2]) for line in found)


def says_that_the_store_failed(service: Service) -> bool:
    """Tell whether the service's `/readyz` does."""
    return "\nthe bucket store failed; requests get 'allow' until it is back: " in readiness(service)


def readiness(service: Service) -> str:
    """Return what `/readyz` says, with status 200."""
    with urlopen(f"http://{LOOPBACK}:{service.admin_port}/readyz", timeout=10) as answer:
        return str(answer.read().decode())


async def test_a_store_that_hangs_costs_one_batch_its_wait_and_is_exact_afterwards(
    processes: Processes,
) -> None:
    server = start_server(processes)
    service = serve(processes, server.url)
    async with Load(service, WIDE) as load:
        await load.until_decided()
        before = threads_and_files(service)
        timeouts = metric(service, "ratelimit_store_failures", kind="timeout")
        await load.renew()
        server.process.signal(signal.SIGSTOP)
        await load.until_undecided()
        await asyncio.to_thread(
            service.process.until, lambda: says_that_the_store_failed(service) or None, "a failed store"
        )
        await load.renew()
        await asyncio.sleep(1.5)
        hung = await load.renew()
        during = threads_and_files(service)
        server.process.signal(signal.SIGCONT)
        await load.until_decided()
        assert_all_answered_in_time(hung)
        assert hung.decided == 0
        assert hung.passed == hung.undecided > 100
        # A second and a half of batches, of which the first waited; the others found the breaker open.
        assert metric(service, "ratelimit_store_failures", kind="timeout") - timeouts <= 3
        assert metric(service, "ratelimit_store_failures", kind="open") > 20
        # One thread tries to connect, on one socket.
        assert during[0] <= before[0] + 1 + IDLE_THREADS
        assert during[1] <= before[1] + 2
        assert_all_answered_in_time(await load.renew())
    after = threads_and_files(service)
    assert after[0] <= before[0] + IDLE_THREADS
    assert after[1] <= before[1] + 1


async def test_a_store_that_dies_is_found_again_when_it_is_back(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url, "--on-store-failure", "deny")
    async with Load(service, WIDE) as load:
        await load.until_decided()
        before = threads_and_files(service)
        for _ in range(2):
            await load.renew()
            server.process.kill()
            await load.until_undecided()
            await asyncio.sleep(0.5)
            down = await load.renew()
            assert_all_answered_in_time(down)
            assert down.passed == down.admitted
            server = start_server(processes, port=server.port)
            await load.until_decided()
        assert_all_answered_in_time(await load.renew())
    after = threads_and_files(service)
    assert after[0] <= before[0] + IDLE_THREADS
    assert after[1] <= before[1] + 1


async def test_a_service_starts_without_its_store_and_is_exact_when_it_appears(processes: Processes) -> None:
    server = start_server(processes)
    server.process.kill()
    # So that none is given up that the store then counts, however busy the machine.
    service = serve(processes, server.url, "--store-timeout", "5")
    said = f"the bucket store is not reached; requests get 'allow' until it is: {LOOPBACK}:{server.port}"
    await asyncio.to_thread(
        service.process.until, lambda: said in readiness(service) or None, "a store that is not reached"
    )
    async with Load(service, request("narrow", "new"), callers=4) as load:
        await load.until_undecided()
        assert_all_answered_in_time(await load.renew())
        start_server(processes, port=server.port)
        await load.until_decided()
    assert load.answers.errors == []
    assert readiness(service) == "ready\n"
    assert (await remaining(service, "narrow", "new")) == 3000 - load.answers.admitted


def test_a_store_that_is_back_is_said_to_be_though_nobody_asks(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url)
    admin = Admin(service)
    server.process.kill()
    service.process.until(
        lambda: (admin.ask("edge", {"wide": "x"}), says_that_the_store_failed(service))[1] or None,
        "a request that the store did not decide",
    )
    admin.close()
    start_server(processes, port=server.port)
    service.process.until(lambda: readiness(service) == "ready\n" or None, "a store that is back")
    service.process.until_logged("the bucket store is back")


def test_a_store_that_dies_while_nobody_asks_is_said_to_be_away(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url)
    server.until(lambda: " cmd=ping " in server.ask("CLIENT", "LIST"), "a connection")
    server.process.kill()
    service.process.until_logged("the bucket store is not reached; requests get 'allow' until it is: ")
    start_server(processes, port=server.port)
    service.process.until_logged("the bucket store is back")
    assert readiness(service) == "ready\n"


async def test_a_script_flush_under_load_loses_nothing(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url, "--store-timeout", "5")
    async with Load(service, WIDE) as load:
        await load.until_decided()
        await load.renew()
        for _ in range(20):
            server.ask("SCRIPT", "FLUSH")
            await asyncio.sleep(0.02)
        assert load.answers.undecided == 0
        assert load.answers.errors == []
    assert metric(service, "ratelimit_store_failures") == 0


async def test_after_a_flush_of_the_data_buckets_begin_anew(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url, "--store-timeout", "5")
    async with Load(service, request("small", "flushed"), callers=4, pause_s=0) as load:
        await load.until_refused()
        assert load.answers.admitted <= 1000
        server.ask("FLUSHALL")
        await load.renew()
        # What is known empty here is refused for a second at most.
        await load.until(lambda answers: answers.admitted > 0, 5)


async def test_a_bucket_that_is_empty_is_refused_without_asking(processes: Processes) -> None:
    server = start_server(processes)
    service = serve(processes, server.url, "--store-timeout", "5")
    async with Load(service, request("small", "spent"), callers=8, pause_s=0) as load:
        await load.until_refused()
        asked = calls_of(server)
        await load.renew()
        await asyncio.sleep(1)
        assert load.answers.decided > 300
        assert load.answers.admitted == 0
        assert calls_of(server) - asked <= 5
    assert metric(service, "ratelimit_remembered_denials") > 300


def calls_of(server: Server) -> int:
    info = server.ask("INFO", "commandstats")
    found = info if isinstance(info, dict) else json.loads(info)
    return int(found.get("cmdstat_evalsha", {}).get("calls", 0))


async def remaining(service: Service, key: str, value: str) -> int:
    """Return what the store says is left; an answer of the failure policy's, as on a busy machine, knows nothing."""
    peek = request(key, value, hits=0)
    async with Load(service, peek, callers=1, pause_s=0.01) as load:
        await load.until_decided()
    async with Load(service, peek, callers=0) as load:
        answer = await load.ask(peek)
    assert answer.statuses[0].HasField("current_limit"), "the store decided"
    return answer.statuses[0].limit_remaining


async def test_two_services_on_one_store_admit_together_what_one_would(processes: Processes) -> None:
    server = start_server(processes)
    services = [serve(processes, server.url, "--store-timeout", "5") for _ in range(2)]
    body = request("small", "shared")
    async with (
        Load(services[0], body, callers=6, pause_s=0) as one,
        Load(services[1], body, callers=6, pause_s=0) as two,
    ):
        await asyncio.gather(one.until_refused(), two.until_refused())
    # Two more: each load begins with a call that it does not count.
    assert one.answers.admitted + two.answers.admitted + 2 == 1000
    assert one.answers.admitted > 10
    assert two.answers.admitted > 10
    assert not any(load.answers.errors or load.answers.undecided for load in (one, two))


async def test_a_fail_over_in_the_middle_admits_again_at_most_what_was_not_replicated(
    processes: Processes,
) -> None:
    watched = start_sentinels(processes)
    service = serve(processes, watched.url, "--on-store-failure", "deny")
    body = request("narrow", "failed over")
    async with Load(service, body, callers=4, pause_s=0.01) as load:
        await load.until_decided()
        watched.primary.process.signal(signal.SIGSTOP)
        await load.until_undecided()
        frozen = load.answers.admitted
        await load.until_decided(40)
        assert watched.replica.ask("ROLE")[0] == "master"
        # The old primary comes back, as a replica: nobody is to ask it any more.
        watched.primary.process.signal(signal.SIGCONT)
        await asyncio.sleep(1)
        assert_all_answered_in_time(load.answers)
    await assert_counts_within_what_is_promised(service, "failed over", load.answers)
    assert frozen > 0


async def test_when_a_node_of_a_cluster_dies_its_replica_takes_over(processes: Processes) -> None:
    cluster = start_cluster(processes, timeout_ms=1000)
    home = cluster.home_of("{4:edge}")
    replica = add_replica(processes, home, timeout_ms=1000)
    service = serve(processes, cluster.url, "--on-store-failure", "deny")
    async with Load(service, request("narrow", "moved on"), callers=4, pause_s=0.01) as load:
        await load.until_decided()
        home.process.kill()
        await load.until_undecided()
        await load.until_decided(40)
        assert replica.ask("ROLE")[0] == "master"
        assert_all_answered_in_time(load.answers)
    await assert_counts_within_what_is_promised(service, "moved on", load.answers)


async def assert_counts_within_what_is_promised(service: Service, value: str, answers: Answers) -> None:
    """What the old primary admitted and had not passed on when it stopped: less than it admitted in one second."""
    used = 3000 - await remaining(service, "narrow", value)
    admitted = answers.admitted + 1
    assert admitted - 450 <= used <= admitted + 12
