"""What the supervisor shows of its workers: ready when all are, their metrics with a label, one's configuration."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.responses import PlainTextResponse, Response

from envoy_sidecar import admin_client
from envoy_sidecar.admin import Readiness
from envoy_sidecar.transport.address import Address

LOG = logging.getLogger(__name__)

_Answer = httpx.Response | httpx.HTTPError


class WorkerViews:
    """Asks the workers' own admin servers, on their sockets in the order of their numbers, whenever it is asked."""

    def __init__(self, sockets: Sequence[Path], deaths: Callable[[], int]) -> None:
        self._sockets = sockets
        self._deaths = deaths

    def readiness(self) -> Readiness:
        """Return ready iff every worker is, with what each says."""
        ready, details = True, []
        for number, answer in self._ask_all("/readyz"):
            if isinstance(answer, httpx.HTTPError):
                ready = False
                details.append(f"worker {number}: does not answer: {answer}")
            else:
                ready = ready and answer.is_success
                details.extend(f"worker {number}: {line}" for line in answer.text.splitlines())
        return Readiness(ready, tuple(details))

    def config(self) -> Mapping[str, object]:
        """Return the configuration of the first worker that answers; they all have the same."""
        trouble = ""
        for number, path in enumerate(self._sockets):
            answer = _ask(path, "/config")
            if not isinstance(answer, httpx.HTTPError) and answer.is_success:
                return {"workers": len(self._sockets), "worker": answer.json()}
            trouble = f"worker {number} does not answer: {answer}"
        return {"workers": len(self._sockets), "worker": trouble}

    def prometheus(self) -> bytes:
        """Return every worker's samples with a `worker` label, and the count of deaths."""
        texts: dict[str, str] = {}
        for number, answer in self._ask_all("/metrics"):
            if isinstance(answer, httpx.HTTPError) or not answer.is_success:
                LOG.warning("worker %d: no metrics: %s", number, answer)
            else:
                texts[str(number)] = answer.text
        registry = CollectorRegistry()
        registry.register(_Merged(texts, self._deaths()))
        return generate_latest(registry)

    def first(self, path: str, body: bytes | None = None) -> Response:
        """Return what the first worker that answers says to a GET of *path*, or to a POST of *body*.

        A POST that one may have received is sent to no other.
        """
        for number, socket in enumerate(self._sockets):
            answer = _ask(socket, path, body)
            if not isinstance(answer, httpx.HTTPError):
                kind = answer.headers.get("content-type")
                return Response(answer.content, answer.status_code, media_type=kind)
            if body is not None and not isinstance(answer, httpx.ConnectError):
                return PlainTextResponse(f"worker {number} does not answer: {answer}\n", 502)
        return PlainTextResponse("no worker can be reached\n", 503)

    def all(self, path: str) -> Sequence[httpx.Response | None]:
        """Return what each worker answers to a GET of *path*; None for one that does not."""
        answers = (answer for _, answer in self._ask_all(path))
        return [None if isinstance(answer, httpx.HTTPError) else answer for answer in answers]

    def _ask_all(self, path: str) -> Iterator[tuple[int, _Answer]]:
        with ThreadPoolExecutor(len(self._sockets)) as pool:
            yield from enumerate(pool.map(lambda socket: _ask(socket, path), self._sockets))


def _ask(socket: Path, path: str, body: bytes | None = None) -> _Answer:
    if not socket.exists():  # httpx would leave the socket that it made to the garbage collector
        return httpx.ConnectError("it does not listen yet")
    address = Address(path=str(socket))
    try:
        return admin_client.get(address, path) if body is None else admin_client.post(address, path, body)
    except httpx.HTTPError as error:
        return error


class _Merged:
    """A Prometheus collector of the texts of several workers."""

    def __init__(self, texts: Mapping[str, str], deaths: int) -> None:
        self._texts = texts
        self._deaths = deaths

    def collect(self) -> list[Metric]:
        merged: dict[str, Metric] = {}
        for worker, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                target = merged.setdefault(
                    family.name, Metric(family.name, family.documentation, family.type)
                )
                for sample in family.samples:
                    target.samples.append(sample._replace(labels={**sample.labels, "worker": worker}))
        deaths = CounterMetricFamily(
            "worker_deaths", "Workers that died and were replaced", value=self._deaths
        )
        return [*merged.values(), deaths]
