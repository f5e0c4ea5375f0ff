"""Runs a case: a configuration, and requests at times with the answers that are expected, through the real handler."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import redis
from google.protobuf.json_format import MessageToDict

from envoy_ratelimit.config import load_rules
from envoy_ratelimit.core.algorithms import Algorithm
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.response import HeaderNames, ResponseOptions
from envoy_ratelimit.core.rules import Defaults, Rules
from envoy_ratelimit.core.store import BucketStore, StoreError, Take
from envoy_ratelimit.core.token_bucket import MICROSECONDS, Outcome
from envoy_ratelimit.handler import RateLimitHandler
from envoy_ratelimit.observe.metrics import RuleMetrics
from envoy_ratelimit.stores import DenialCache, RemoteStore, lane, open_store
from envoy_ratelimit.stores.memory import MemoryStore
from envoy_ratelimit.stores.names import Spread
from envoy_ratelimit.stores.packing import SCRIPT
from envoy_sidecar.pb.ratelimit_pb2 import RateLimitRequest, RateLimitResponse
from envoy_sidecar.transport.port import Answer, Call, Failure

START_US = 20_440 * 86_400 * MICROSECONDS
"""When a case begins: at the start of a minute, an hour and a day."""
_BY_ALGORITHM = frozenset(Algorithm)
_A_MINUTE_US = 60 * MICROSECONDS
_TIME = b"redis.call('TIME')"


class Clock:
    """The time of a case."""

    now_us = START_US

    def __call__(self) -> int:
        return self.now_us


class ServedStore:
    """The real store on real servers, whose script goes by the clock of a case instead of the server's.

    The time stands in the script itself, so that it is the same in each place that a request's buckets lie in. With
    *denials*, refusals are remembered, by the same clock. One store serves all cases: each is to `begin` on it.
    """

    def __init__(
        self,
        url: str,
        ports: Sequence[int],
        patch: pytest.MonkeyPatch,
        *,
        denials: bool = False,
        spread: Spread = "domain",
    ) -> None:
        self._nodes = [redis.Redis(port=port) for port in ports]
        self._clock = Clock()
        self._patch = patch
        self._store = open_store(url, timeout_s=10, denials_s=0, spread=spread)
        if denials:
            assert isinstance(self._store, RemoteStore)
            self._store = DenialCache(self._store, max_age_us=_A_MINUTE_US, clock=self._now_us)

    def begin(self, clock: Clock) -> None:
        """Empty all buckets, and go by *clock* from now on."""
        for node in self._nodes:
            node.flushall()
        if isinstance(self._store, DenialCache):
            self._store.forget()
        self._clock = clock

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[Outcome]]:
        script = SCRIPT.replace(_TIME, b"{%d, %d}" % divmod(self._clock(), MICROSECONDS))
        assert script != SCRIPT
        self._patch.setattr(lane, "SCRIPT", script)
        self._patch.setattr(lane, "SCRIPT_ID", sha1(script, usedforsecurity=False).hexdigest())
        return self._store.take(batch)

    def close(self) -> None:
        self._store.close()
        for node in self._nodes:
            node.close()

    def _now_us(self) -> int:
        return self._clock()


class Breakable:
    """A store that is gone where a case says so."""

    def __init__(self, store: BucketStore) -> None:
        self._store = store
        self.is_down = False

    def take(self, batch: Sequence[Sequence[Take]]) -> Sequence[Sequence[Outcome]]:
        if self.is_down:
            raise StoreError("timeout", "a case wants it so")
        return self._store.take(batch)

    def close(self) -> None:
        """Leave it open for the next case."""


class Bench:
    """A handler with the configuration of a case, on a store."""

    def __init__(
        self, case: Mapping[str, Any], store: BucketStore, algorithm: Algorithm, clock: Clock
    ) -> None:
        self.store = Breakable(store)
        options = case.get("options", {})
        headers = options.get("headers")
        self.metrics = RuleMetrics()
        self.handler = RateLimitHandler(
            _rules(case["config"], algorithm, options.get("shadow_mode", False)),
            self.store,
            observe=self.metrics.count,
            local=LocalShare(MemoryStore(clock=clock), options.get("local_share", 1)),
            response=ResponseOptions(
                headers=HeaderNames(**headers) if headers is not None else None,
                dynamic_metadata=options.get("dynamic_metadata", False),
                body=options.get("body", "none"),
            ),
        )

    def ask(self, request: RateLimitRequest) -> Answer:
        (answer,) = self.handler([Call(request.SerializeToString())])
        return answer


@lru_cache(maxsize=len(Algorithm))
def _rules(config: str, algorithm: Algorithm, shadow_mode: bool) -> Rules:
    """Read limits: once for all the stores that a case runs on, because YAML takes longer than the rest of it."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "limits.yaml")
        file.write_text(config, "utf-8")
        return load_rules(
            [file], defaults=Defaults(algorithm=algorithm, shadow_mode=shadow_mode), strict=True
        ).rules


def request_of(step: Mapping[str, Any]) -> RateLimitRequest:
    """Read `ask`: descriptors as "key=value key2=value2", or as mappings with `entries`, `hits`, `negative`, `limit`."""
    request = RateLimitRequest(domain=step.get("domain", "d"), hits_addend=step.get("hits", 0))
    asked = step["ask"]
    for one in [asked] if isinstance(asked, str) else asked:
        fields: Mapping[str, Any] = {"entries": one} if isinstance(one, str) else one
        descriptor = request.descriptors.add()
        for entry in fields["entries"].split(" "):
            key, _, value = entry.partition("=")
            descriptor.entries.add(key=key, value=value)
        if "hits" in fields:
            descriptor.hits_addend.value = fields["hits"]
        descriptor.is_negative_hits = fields.get("negative", False)
        if "limit" in fields:
            requests, descriptor.limit.unit = fields["limit"]
            descriptor.limit.requests_per_unit = requests
    return request


def by_algorithm(expected: Any, algorithm: Algorithm) -> Any:
    """Choose what is written for this algorithm, wherever an expectation differs by it."""
    if isinstance(expected, dict):
        if expected.keys() <= _BY_ALGORITHM and expected:
            return by_algorithm(expected[algorithm], algorithm)
        return {key: by_algorithm(value, algorithm) for key, value in expected.items()}
    if isinstance(expected, list):
        return [by_algorithm(value, algorithm) for value in expected]
    return expected


def plain(answer: Answer) -> dict[str, Any]:
    """Return an answer as a case writes it."""
    if isinstance(answer, Failure):
        return {"error": answer.code.name, "message": answer.message}
    response = RateLimitResponse.FromString(answer)
    found: dict[str, Any] = {
        "code": RateLimitResponse.Code.Name(response.overall_code),
        "statuses": [_status(status) for status in response.statuses],
    }
    if response.response_headers_to_add:
        found["headers"] = {header.key: header.value for header in response.response_headers_to_add}
    if response.raw_body:
        found["body"] = response.raw_body.decode()
    if response.HasField("dynamic_metadata"):
        found["metadata"] = MessageToDict(response.dynamic_metadata)
    return found


def _status(status: RateLimitResponse.DescriptorStatus) -> dict[str, Any]:
    found: dict[str, Any] = {"code": RateLimitResponse.Code.Name(status.code)}
    if status.HasField("current_limit"):
        limit = status.current_limit
        unit = RateLimitResponse.RateLimit.Unit.Name(limit.unit)
        found |= {"limit": f"{limit.requests_per_unit}/{unit}", "remaining": status.limit_remaining}
        if limit.name:
            found["name"] = limit.name
    elif status.limit_remaining:
        found["remaining"] = status.limit_remaining
    if status.HasField("duration_until_reset"):
        assert status.duration_until_reset.nanos == 0
        found["reset"] = status.duration_until_reset.seconds
    return found


def steps(case: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of a case, one that is to be repeated as often as it says."""
    for step in case["steps"]:
        for _ in range(step.get("times", 1)):
            yield step


def differs(found: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Say where an answer is not what was expected: of each mapping only what the case names; empty if it is."""
    for key, value in expected.items():
        if key == "statuses":
            if why := _statuses_differ(found["statuses"], value):
                return why
        elif key in {"message", "body"}:
            if value not in found.get(key, "") or (not value and found.get(key)):
                return f"{key} is {found.get(key)!r}"
        elif found.get(key) != value:
            return f"{key} is {found.get(key)}, not {value}"
    return ""


def _statuses_differ(found: Sequence[Mapping[str, Any]], expected: Sequence[Any]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} statuses"
    for place, (status, wanted) in enumerate(zip(found, expected, strict=True)):
        fields = {"code": wanted} if isinstance(wanted, str) else wanted
        if "bare" in fields:
            same = status == {"code": fields["code"]}
        else:
            same = all(status.get(name) == value for name, value in fields.items())
        if not same:
            return f"statuses[{place}] is {status}, not {fields}"
    return ""
