"""Steady traffic from several clients, so that one failed request among many is noticed."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ssl import SSLContext
from threading import Event
from types import TracebackType
from typing import Self

from envoy_demo.ports import LOOPBACK

_TIMEOUT_SECONDS = 30


@dataclass
class Load:
    """A context manager: GETs *path* again and again, each of *clients* on a connection of its own, until it is left.

    With *context* the connections are TLS ones, to a certificate for 127.0.0.1.

    Then `answers` counts what came: a status, or the name of the exception that came instead of one.
    """

    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    clients: int = 4
    context: SSLContext | None = None
    answers: Counter[int | str] = field(default_factory=Counter)

    def __enter__(self) -> Self:
        self._stop = Event()
        self._pool = ThreadPoolExecutor(self.clients)
        self._running: list[Future[Counter[int | str]]] = [
            self._pool.submit(self._client) for _ in range(self.clients)
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with self._pool:
            for client in self._running:
                self.answers.update(client.result())

    def _connection(self) -> HTTPConnection:
        if self.context is None:
            return HTTPConnection(LOOPBACK, self.port, timeout=_TIMEOUT_SECONDS)
        return HTTPSConnection(LOOPBACK, self.port, timeout=_TIMEOUT_SECONDS, context=self.context)

    def _client(self) -> Counter[int | str]:
        answers: Counter[int | str] = Counter()
        connection = self._connection()
        try:
            while not self._stop.is_set():
                try:
                    connection.request("GET", self.path, headers=dict(self.headers))
                    answer = connection.getresponse()
                    answer.read()
                    answers[answer.status] += 1
                except (OSError, HTTPException) as error:
                    answers[type(error).__name__] += 1
                    connection.close()
                # A pace at which two cores have room for the programs under test, which start meanwhile.
                self._stop.wait(0.02)
        finally:
            connection.close()
        return answers
