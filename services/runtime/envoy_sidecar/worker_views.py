"""What the supervisor shows of its workers: ready when all are, their metrics with a label, one's configuration."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

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

    def _ask_all(self, path: str) -> Iterator[tuple[int, _Answer]]:
        with ThreadPoolExecutor(len(self._sockets)) as pool:
            yield from enumerate(pool.map(lambda socket: _ask(socket, path), self._sockets))


def _ask(socket: Path, path: str) -> _Answer:
    try:
        return admin_client.get(Address(path=str(socket)), path)
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
