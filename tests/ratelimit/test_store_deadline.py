"""All waits of a batch share one deadline, and no answer is taken for another."""

import socket
import threading
import time

import pytest

from envoy_demo.ports import LOOPBACK
from envoy_ratelimit.core.store import StoreError
from envoy_ratelimit.stores import open_store
from envoy_ratelimit.stores.address import Endpoint
from envoy_ratelimit.stores.connection import ReplyError
from envoy_ratelimit.stores.lane import Lane, script_call
from envoy_ratelimit.stores.redis import MAX_ROUNDS, RedisStore
from tests.ratelimit.servers import Server
from tests.ratelimit.test_store_topologies import PATIENT_S, eventually, one, opened, wish


class Scripted:
    """A connection whose server says the same to everything; it notes the deadlines it was given."""

    endpoint = Endpoint("scripted", 1)

    def __init__(self, reply: object) -> None:
        self.reply = reply
        self.deadlines: list[float] = []
        self.sent = 0

    def send(self, data: bytes, deadline_s: float) -> None:
        del data
        self.sent += 1
        self.deadlines.append(deadline_s)

    def receive(self, deadline_s: float) -> object:
        self.deadlines.append(deadline_s)
        return self.reply

    def ask(self, *command: object, timeout_s: float) -> object:
        del command, timeout_s
        return b"OK"

    def close(self) -> None:
        pass


class OneLane:
    named = None

    def __init__(self, lane: Lane) -> None:
        self.only = (lane, 0)

    def place(self, key: str, deadline_s: float) -> tuple[Lane, int]:
        del key, deadline_s
        return self.only

    def moved(self, slot: int, error: ReplyError) -> tuple[Lane, bool]:
        del slot, error
        return self.only[0], False

    def start(self) -> None:
        self.only[0].start()

    def look(self) -> None:
        self.only[0].look()

    def why_down(self) -> str:
        return self.only[0].why_down()

    def close(self) -> None:
        self.only[0].close()


@pytest.mark.parametrize("says", ["NOSCRIPT no such script", "MOVED 1 elsewhere:1"])
def test_a_batch_waits_so_often_at_most_and_by_one_deadline(says: str) -> None:
    connection = Scripted(ReplyError(says))
    lane = Lane("scripted", lambda: connection, timeout_s=PATIENT_S)  # type: ignore[arg-type,return-value]
    store = RedisStore(OneLane(lane), timeout_s=PATIENT_S)
    with pytest.raises(StoreError) as caught:
        one(store, wish("a"))
    assert caught.value.kind == "response"
    assert connection.sent <= MAX_ROUNDS
    assert len(set(connection.deadlines)) == 1
    assert connection.deadlines[0] <= time.monotonic() + PATIENT_S
    store.close()


def test_an_answer_that_a_fault_of_ours_left_unread_is_never_taken_for_another(server: Server) -> None:
    store = opened(server.url)
    assert isinstance(store, RedisStore)
    one(store, wish("unread", 100))
    place = store._only
    assert place is not None
    lane = place[0]
    call = script_call(lane, [[wish("unread", 100)]], None)
    lane.send([call], time.monotonic() + PATIENT_S)
    assert eventually(store, wish("others", 7))[0][:2] == (True, 493)
    assert eventually(store, wish("unread", 0))[0][1] == 300
    store.close()


def test_a_server_that_trickles_gets_no_more_time_than_one_that_is_silent() -> None:
    listener = socket.create_server((LOOPBACK, 0))
    ended = threading.Event()

    def trickle() -> None:
        client, _ = listener.accept()
        with client:
            for answer in (b"$1\r\nx\r\n", b"+PONG\r\n"):
                while b"\r\n" not in client.recv(65_536):
                    pass
                client.sendall(answer)
            client.recv(65_536)
            client.sendall(b"*400\r\n")
            while not ended.wait(0.01):
                try:
                    client.sendall(b":1\r\n")
                except OSError:
                    return

    thread = threading.Thread(target=trickle, daemon=True)
    thread.start()
    store = open_store(f"redis://{LOOPBACK}:{listener.getsockname()[1]}", timeout_s=0.2, denials_s=0)
    started_s = time.monotonic()
    with pytest.raises(StoreError) as caught:
        one(store, wish("a"))
    took_s = time.monotonic() - started_s
    ended.set()
    listener.close()
    store.close()
    assert caught.value.kind == "timeout"
    assert took_s < 2
