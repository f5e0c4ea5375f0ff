"""Reaching the servers: logins, TLS, sockets, a cluster's slots."""

import re
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from redis.crc import key_slot

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_ratelimit.core.algorithms import Spec
from envoy_ratelimit.core.rule import Rate, Unit, bucket_of
from envoy_ratelimit.core.store import ENFORCED, BucketStore, StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, BucketSpec, Outcome
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.address import Endpoint, parse_address
from envoy_ratelimit.stores.names import cluster_names, single_names
from envoy_ratelimit.stores.redis import RedisStore, is_per_second
from tests.ratelimit.servers import Cluster, Server, Watched, redis_binary, start_server
from tests.runtime.serving import Authority

PATIENT_S = 10
PER_YEAR = bucket_of(Rate(500, Unit.YEAR))
PER_SECOND = bucket_of(Rate(500, Unit.SECOND))


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with Processes(tmp_path) as started:
        yield started


def wish(name: str, cost: int = 1, spec: Spec = PER_YEAR, domain: str = "edge") -> Take:
    return f"rl1|{len(domain)}:{domain}|{name}", spec, cost, ENFORCED


def one(store: BucketStore, *takes: Take) -> Sequence[Outcome]:
    return store.take([takes])[0]


def opened(url: str, **options: Any) -> BucketStore:
    return open_store(url, timeout_s=PATIENT_S, **{"denials_s": 0, **options})


def assert_works(url: str, **options: Any) -> None:
    store = opened(url, **options)
    assert one(store, wish("works"))[0][0]
    store.close()


def assert_refused(url: str, said: str) -> str:
    store = opened(url)
    with pytest.raises(StoreError, match=said) as caught:
        one(store, wish("refused"))
    store.close()
    assert "hunter2" not in str(caught.value)
    return str(caught.value)


def test_a_user_of_the_acl_needs_no_more_than_the_script_does(processes: Processes) -> None:
    server = start_server(processes)
    rights = ["+evalsha", "+eval", "+script|load", "+ping", "+time", "+mget", "+set", "+del", "~team:*"]
    server.ask("ACL", "SETUSER", "limiter", "on", ">hunter2", "-@all", *rights)
    hosts = f"{LOOPBACK}:{server.port}"
    assert_works(f"redis://limiter:hunter2@{hosts}", key_prefix="team:")
    assert_refused(f"redis://limiter:hunter2@{hosts}", "NOPERM|No permissions|permissions")
    assert_refused(f"redis://limiter:not-hunter2@{hosts}", "invalid username-password|WRONGPASS")


def test_on_a_cluster_and_with_sentinel_that_user_needs_what_the_page_adds(
    cluster: Cluster, watched: Watched
) -> None:
    rights = ["+evalsha", "+eval", "+script|load", "+ping", "+time", "+mget", "+set", "+del", "~team:*"]
    more = ["+cluster|slots", "+asking"]
    for servers, added in ((cluster.nodes, more), ((watched.primary,), ["+role"])):
        for server in servers:
            server.ask("ACL", "SETUSER", "limiter", "on", ">hunter2", "-@all", *rights, *added)
    for spread in ("domain", "bucket"):
        assert_works(with_login(cluster.url), key_prefix="team:", spread=spread)
    assert_works(with_login(watched.url), key_prefix="team:")


def with_login(url: str) -> str:
    return url.replace("://", "://limiter:hunter2@")


def test_a_password_file_is_read_at_each_connection(processes: Processes, tmp_path: Path) -> None:
    server = start_server(processes, "--requirepass", "hunter2")
    file = tmp_path / "password"
    file.write_text("wrong\n", "utf-8")
    store = opened(f"redis://{LOOPBACK}:{server.port}?password_file={file}")
    with pytest.raises(StoreError):
        one(store, wish("a"))
    file.write_text("hunter2\n", "utf-8")
    assert eventually(store, wish("a"))[0][0]
    file.unlink()
    assert one(store, wish("a"))[0][0]
    store.close()


def eventually(store: BucketStore, *takes: Take) -> Sequence[Outcome]:
    for _ in range(500):
        try:
            return one(store, *takes)
        except StoreError:
            time.sleep(0.02)
    raise AssertionError("the store never answered")


def test_a_unix_socket(processes: Processes, tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    start_server(processes, "--unixsocket", str(path))
    assert_works(f"unix://{path}")
    assert_works(f"unix://{path}?db=3")


def test_tls_with_a_certificate_of_ours(processes: Processes, tmp_path: Path) -> None:
    authority = Authority.make("store")
    for name, content in zip(("cert.pem", "key.pem"), authority.issue("server"), strict=True):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    (tmp_path / "other.pem").write_bytes(Authority.make("other").pem)
    port = free_port()
    files = {
        "tls-cert-file": "cert.pem",
        "tls-key-file": "key.pem",
        "tls-ca-cert-file": "ca.pem",
    }
    options = [part for name, file in files.items() for part in (f"--{name}", str(tmp_path / file))]
    plain = start_server(processes, "--tls-port", str(port), *options, binary=redis_binary())
    url = f"rediss://{LOOPBACK}:{port}/0"
    ours = f"ssl_certfile={tmp_path}/cert.pem&ssl_keyfile={tmp_path}/key.pem"
    assert_works(f"{url}?ssl_ca_certs={tmp_path}/ca.pem&{ours}")
    assert_refused(f"{url}?ssl_ca_certs={tmp_path}/other.pem&{ours}", "certificate verify failed")
    assert_refused(f"{url}?ssl_ca_certs={tmp_path}/ca.pem", "cannot be reached|closed")
    (tmp_path / "another.pem").write_bytes(authority.issue("another")[1])
    assert_refused(
        f"{url}?ssl_certfile={tmp_path}/cert.pem&ssl_keyfile={tmp_path}/another.pem",
        f"ssl_certfile={tmp_path}/cert.pem and ssl_keyfile={tmp_path}/another.pem: the key is another's",
    )
    assert_refused(f"{url}?ssl_certfile={tmp_path}/cert.pem", "cert.pem: no certificate with its key")
    assert_refused(f"{url}?ssl_ca_certs={tmp_path}/key.pem", "key.pem holds no certificate")
    for login in ("", "u:p@"):
        assert_refused(f"redis://{login}{LOOPBACK}:{port}", "cannot be reached.*; perhaps it speaks only TLS")
    assert_refused(f"rediss://{LOOPBACK}:{plain.port}", "; perhaps it does not speak TLS")


@pytest.mark.parametrize("url", ["redis+cluster://{}", "redis+sentinel://{}/main"])
def test_why_each_of_several_servers_is_not_asked_is_said(url: str) -> None:
    ports = free_port(), free_port()
    servers = ",".join(f"{LOOPBACK}:{port}" for port in ports)
    assert_refused(url.format(servers), f":{ports[0]} cannot be reached.*:{ports[1]} cannot be reached")


def test_a_url_says_all_there_is() -> None:
    address = parse_address(
        "rediss+sentinel://bob:p%40ss@one,two:1,[::1]:2/main/5?sentinel_username=s&sentinel_password=t"
    )
    assert address.servers == (Endpoint("one", 26379), Endpoint("two", 1), Endpoint("::1", 2))
    assert (address.service, address.db, address.login.user) == ("main", 5, "bob")
    assert (address.login.secret(), address.sentinel_login.secret()) == ("p@ss", "t")
    assert address.tls is not None
    assert "p@ss" not in repr(address)
    assert str(address.servers[2]) == "[::1]:2"


def test_names_keep_a_domain_together_and_let_nobody_choose_a_slot() -> None:
    by_domain = cluster_names("", "domain")
    keys = ["rl1|4:edge|5/MINUTE|?4:user|3:{x}", "rl1|4:edge|9/DAY|", "rl1|4:edge|9/DAY|#0123"]
    assert len({key_slot(by_domain(key).encode()) for key in keys}) == 1
    assert by_domain(keys[0]) == "{4:edge}" + keys[0]
    by_bucket = cluster_names("", "bucket")
    chosen = {key_slot(by_bucket(f"rl1|4:edge|{number}{{x}}").encode()) for number in range(50)}
    assert len(chosen) > 40
    in_one = cluster_names("{all}:", "bucket")
    assert len({key_slot(in_one(key).encode()) for key in keys}) == 1
    assert single_names("") is None
    with pytest.raises(ValueError, match="hash tag"):
        cluster_names("a{b", "domain")


def held_by(cluster: Cluster) -> list[int]:
    return [len(node.ask("KEYS", "*spread-*")) for node in cluster.nodes]


def test_buckets_of_a_domain_lie_on_one_node_or_are_spread(cluster: Cluster) -> None:
    for node in cluster.nodes:
        node.ask("FLUSHALL")
    store = opened(cluster.url)
    store.take([[wish(f"spread-{number}")] for number in range(60)])
    assert sorted(held_by(cluster)) == [0, 0, 60]
    store.close()
    store = opened(cluster.url, spread="bucket")
    store.take([[wish(f"spread-{number}")] for number in range(60)])
    assert min(held_by(cluster)) >= 5
    store.close()


def test_a_node_of_a_cluster_that_is_taken_for_a_server_alone_says_what_it_is(cluster: Cluster) -> None:
    home = cluster.home_of("a")
    store = opened(next(node for node in cluster.nodes if node != home).url)
    with pytest.raises(StoreError, match=r"refused: MOVED .*; it is a node of a cluster, whose URL begins"):
        store.take([[("a", PER_YEAR, 1, ENFORCED)]])
    store.close()


def test_all_nodes_of_a_cluster_are_connected_before_the_first_request(cluster: Cluster) -> None:
    store = opened(cluster.url)
    assert isinstance(store, RedisStore)
    before = [ready_clients(node) for node in cluster.nodes]
    store.start()
    for node, others in zip(cluster.nodes, before, strict=True):
        node.until(partial(connected, node, others), f"a connection to {node.port}")
    store.close()


def test_a_connection_that_a_server_closed_while_nobody_asked_costs_no_batch(cluster: Cluster) -> None:
    store = opened(cluster.url)
    assert isinstance(store, RedisStore)
    store.start()
    for node in cluster.nodes:
        node.until(partial(connected, node, set()), f"a connection to {node.port}")
        node.ask("CLIENT", "KILL", "TYPE", "normal")
    for node in cluster.nodes:
        node.until(partial(connected_again, store, node), f"another one to {node.port}")
    for number in range(20):
        assert one(store, wish("idle", domain=str(number)))[0][0]
    store.close()


def ready_clients(node: Server) -> set[str]:
    """Return the ids of the clients that have been through all of a new connection's steps, and wait."""
    return set(re.findall(r"^id=(\d+) .* cmd=ping ", node.ask("CLIENT", "LIST"), re.MULTILINE))


def connected_again(store: RedisStore, node: Server) -> bool:
    store.look()
    return connected(node, set())


def connected(node: Server, others: set[str]) -> bool:
    return bool(ready_clients(node) - others)


def test_on_one_slot_no_request_is_ever_charged_in_part(cluster: Cluster) -> None:
    store, other = opened(cluster.url), opened(cluster.url)
    one(store, wish("part-full", 500))
    ended = threading.Event()
    seen: list[int] = []

    def watch() -> None:
        while not ended.is_set():
            seen.append(one(other, wish("part-free", 0))[0][1])

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(200):
        assert not one(store, wish("part-free", 7), wish("part-full"))[1][0]
    ended.set()
    watcher.join()
    assert set(seen) == {500}
    store.close()
    other.close()


def test_over_several_slots_a_refused_request_is_given_back_what_it_took(cluster: Cluster) -> None:
    store = opened(cluster.url, spread="bucket")
    names = [f"back-{number}" for number in range(12)]
    one(store, wish("back-full", 500))
    outcomes = one(store, *(wish(name, 7) for name in names), wish("back-full"))
    assert [outcome[:2] for outcome in outcomes] == [(True, 500)] * len(names) + [(False, 0)]
    assert [one(store, wish(name, 0))[0][1] for name in names] == [500] * len(names)
    store.close()


def test_a_slot_that_moves_is_followed(cluster: Cluster) -> None:
    store = opened(cluster.url)
    take = wish("moving", domain="moving")
    name = cluster_names("", "domain")(take[0])
    slot = key_slot(name.encode())
    assert one(store, take)[0][:2] == (True, 499)
    ids = [node.ask("CLUSTER", "MYID") for node in cluster.nodes]
    (home,) = [number for number, node in enumerate(cluster.nodes) if name in node.ask("KEYS", "*")]
    away = (home + 1) % 3
    source, target = cluster.nodes[home], cluster.nodes[away]
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[home])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[away])
    assert one(store, take)[0][:2] == (True, 498)
    source.ask("MIGRATE", LOOPBACK, target.port, name, 0, 5000)
    # Half way: the old node sends on what it has no more, for this time.
    assert one(store, take)[0][:2] == (True, 497)
    for node in (target, source, cluster.nodes[(home + 2) % 3]):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[away])
    assert [one(store, take)[0][:2] for _ in range(3)] == [(True, 496), (True, 495), (True, 494)]
    store.close()


def test_two_stores_share_the_work_and_a_request_is_all_or_nothing(
    server: Server, debian_redis: Server
) -> None:
    store = opened(server.url, per_second=debian_redis.url)
    one(store, wish("second", 1, PER_SECOND), wish("year"))
    assert server.ask("EXISTS", wish("year")[0]) == 1
    assert server.ask("EXISTS", wish("second")[0]) == 0
    one(store, wish("year-full", 500))
    outcomes = one(store, wish("second-free", 9, PER_SECOND), wish("year-full"))
    assert [outcome[0] for outcome in outcomes] == [True, False]
    assert one(store, wish("second-free", 0, PER_SECOND))[0][:2] == (True, 500)
    store.close()


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("memory:", {"per_second": "redis://host"}),
        ("redis://host", {"per_second": "memory:"}),
        ("redis+cluster://host", {"key_prefix": "{"}),
    ],
)
def test_what_does_not_go_together_is_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"store|hash tag"):
        opened(url, **options)


def test_what_lives_for_a_second() -> None:
    assert is_per_second(bucket_of(Rate(7, Unit.SECOND)))
    assert not is_per_second(bucket_of(Rate(7, Unit.MINUTE)))
    assert not is_per_second(BucketSpec.of(7, MICROSECONDS, 14))
