"""Rate limits in a plain Python program, without Envoy and without a server.

>>> from envoy_ratelimit import RateLimiter
>>> limiter = RateLimiter.from_text('''
... domain: api
... descriptors:
...   - key: user
...     rate_limit: { unit: minute, requests_per_unit: 2 }
... ''')
>>> [limiter.check("api", {"user": "alice"}).allowed for _ in range(3)]
[True, True, False]
>>> refused = limiter.check("api", {"user": "alice"})
>>> refused.limits[0].rule, refused.limits[0].remaining
('user', 0)
>>> 29 < refused.retry_after_s <= 30
True
>>> limiter.check("api", {"user": "bob"}).allowed
True
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, SupportsIndex

from envoy_ratelimit.config import load_rules
from envoy_ratelimit.config.inline import load_text
from envoy_ratelimit.core.fallback import LocalShare
from envoy_ratelimit.core.limiter import Answer, FailurePolicy, Limiter, Status, Verdict
from envoy_ratelimit.core.response import REFUSED, retry_after_us
from envoy_ratelimit.core.rules import Rules
from envoy_ratelimit.core.token_bucket import MICROSECONDS
from envoy_ratelimit.stores import DenialCache, RemoteStore, open_store
from envoy_ratelimit.stores.memory import MemoryStore

ConfigPath = str | Path
STORE_TIMEOUT_S = 0.25
"""Longer than the service's: no Envoy waits here."""
OnStoreFailure = Literal["allow", "deny", "local"]
_PASSED = frozenset(Verdict) - REFUSED - {Verdict.OVER_QUOTA}


@dataclass(frozen=True, slots=True)
class LimitState:
    """What one limit said.

    `rule` names it within its domain, `name` is its name in the file, `limit` is it in words (`2/MINUTE`, `unlimited`;
    empty for one that is replaced). `verdict` is `ok`, `over_limit`, `shadowed` (over, but only watched), `over_quota`
    (over, but another quota of the request is not), `unlimited`, `replaced` (by another limit of the request, so not
    looked at), or `failed_open` and `failed_closed` if the store could not say. `passed` is False for `over_limit` and
    `failed_closed`, which refuse the request, and for `over_quota`, which does not. `remaining` is in hits. `reset_s` is
    in seconds: until it is full again, or until this cost would pass if it was refused; None if waiting does not help.
    """

    rule: str
    name: str
    limit: str
    verdict: str
    passed: bool
    remaining: int
    reset_s: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a request gets: `limits` has one state for each descriptor in order, None where no rule matches.

    `retry_after_s` is how long to wait until the same request would pass; None if it passed, never will, or the store
    that could say fails.
    """

    allowed: bool
    limits: tuple[LimitState | None, ...]
    retry_after_s: float | None


class RateLimiter:
    """Decides by limits in files, on buckets in this process or in Redis; safe to use from several threads.

    *config* is a file or folder of limits in the service's YAML, or several. *store* is as for `envoy-ratelimit
    serve`. While it fails, a limit does what its file says, or else *on_store_failure*; with `local`, buckets in this
    process decide, which hold *local_share* of each limit: 1 by the number of programs that share the store. Raises
    InvalidConfigurationError for limits that can't be used, and ValueError for a store or a share that isn't one.
    """

    def __init__(
        self,
        config: ConfigPath | Sequence[ConfigPath],
        *,
        store: str = "memory:",
        store_timeout_s: float = STORE_TIMEOUT_S,
        on_store_failure: OnStoreFailure = "allow",
        local_share: float = 1.0,
    ) -> None:
        paths = [config] if isinstance(config, str | Path) else config
        files = [Path(path) for path in paths]
        self._local = LocalShare(MemoryStore(), local_share)
        self._setup(lambda: load_rules(files, strict=True).rules, store, store_timeout_s, on_store_failure)

    @classmethod
    def from_text(
        cls,
        text: str,
        *,
        store: str = "memory:",
        store_timeout_s: float = STORE_TIMEOUT_S,
        on_store_failure: OnStoreFailure = "allow",
        local_share: float = 1.0,
    ) -> Self:
        """Return a limiter by the limits of a YAML text; see the class."""
        self = cls.__new__(cls)
        self._local = LocalShare(MemoryStore(), local_share)
        self._setup(lambda: load_text(text).rules, store, store_timeout_s, on_store_failure)
        return self

    def _setup(
        self, load: Callable[[], Rules], store: str, store_timeout_s: float, on_store_failure: str
    ) -> None:
        self._load = load
        self._policy = FailurePolicy(on_store_failure)
        rules = load()
        self._store = open_store(store, timeout_s=store_timeout_s)
        self._remote = self._store if isinstance(self._store, RemoteStore) else None
        if self._remote is not None:
            self._remote.start()
        self._limiter = self._limiter_by(rules)
        self._lock = threading.Lock()

    def _limiter_by(self, rules: Rules) -> Limiter:
        return Limiter(rules, self._store, on_failure=self._policy, local=self._local)

    def check(self, domain: str, *descriptors: Mapping[str, str], hits: int = 1) -> Decision:
        """Decide a request that costs *hits* and charge it if it is allowed.

        Each descriptor maps keys to values in the order of the file's levels: `{"user": "alice"}`. If one of several
        refuses, none is charged. Raises ValueError for no domain, no descriptor, or hits below 1, and TypeError
        for a domain, key or value that is no text, and for hits that are no whole number.
        """
        cost = _whole(hits)
        if cost < 1:
            raise ValueError(f"hits: {cost} is below 1; `peek` charges nothing, `give_back` returns")
        return self._decide(domain, descriptors, cost)

    def peek(self, domain: str, *descriptors: Mapping[str, str]) -> Decision:
        """Tell the state of the limits without charging; only a ban refuses, and a bucket in debt."""
        return self._decide(domain, descriptors, 0)

    def give_back(self, domain: str, *descriptors: Mapping[str, str], hits: int = 1) -> Decision:
        """Give *hits* back, up to the full bucket: for what was charged and then did not happen."""
        cost = _whole(hits)
        if cost < 1:
            raise ValueError(f"hits: {cost} is below 1")
        return self._decide(domain, descriptors, -cost)

    def reload(self) -> None:
        """Read the limits again; buckets of limits that stay the same keep what is in them.

        Raises InvalidConfigurationError, after which the old limits hold on.
        """
        limiter = self._limiter_by(self._load())
        with self._lock:
            if isinstance(self._store, DenialCache):
                self._store.forget()
            self._limiter = limiter

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            self._store.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let go of the store."""
        self.close()

    def _decide(self, domain: str, descriptors: Sequence[Mapping[str, str]], hits: int) -> Decision:
        if not isinstance(domain, str):
            raise TypeError(f"domain: {domain!r} is not a text")
        if not domain:
            raise ValueError("domain: it must not be empty")
        if not descriptors:
            raise ValueError("descriptors: at least one is needed")
        request = (domain, [(_entries(each), hits, None) for each in descriptors], 1)
        with self._lock:
            if self._remote is not None:
                # Each time, for nothing of ours runs in between: a program may be quiet for hours.
                self._remote.look()
            (answer,) = self._limiter.decide([request])
        return _decision(answer)


def _whole(hits: SupportsIndex) -> int:
    try:
        return index(hits)
    except TypeError:
        raise TypeError(f"hits: {hits!r} is not a whole number") from None


def _entries(descriptor: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(descriptor, Mapping):
        raise TypeError(f"a descriptor is a mapping of keys to values, not {type(descriptor).__name__}")
    for key, value in descriptor.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise TypeError(
                f"descriptor {dict(descriptor)!r}: keys and values are texts, {{'user': '42'}} for example"
            )
    return tuple(descriptor.items())


def _decision(answer: Answer) -> Decision:
    over, statuses = answer
    limits = tuple(None if status is None else _state(status) for status in statuses)
    wait_us = retry_after_us(statuses) if over else None
    return Decision(not over, limits, None if wait_us is None else wait_us / MICROSECONDS)


def _state(status: Status) -> LimitState:
    rule, verdict, remaining, reset_us = status
    return LimitState(
        rule=rule.path,
        name=rule.name,
        limit="" if rule.dropped else "unlimited" if rule.rate is None else str(rule.rate),
        verdict=verdict.name.lower(),
        passed=verdict in _PASSED,
        remaining=remaining,
        reset_s=None if reset_us is None else reset_us / MICROSECONDS,
    )
