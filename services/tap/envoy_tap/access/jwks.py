"""The public keys of an issuer: a JWK set (RFC 7517) of a file, or by HTTP."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

MAX_BYTES = 512 << 10
MAX_AGE_S = 300.0
MAX_STALE_S = 3600.0
"""How long keys are used that could not be fetched again."""

RETRY_S = 30.0
"""How long after a fetch the next one may be, however many unknown key ids are presented."""

_TIMEOUT_S = 5.0
LOG = logging.getLogger(__name__)

Keys = Mapping[str, PyJWK]


class KeySource(Protocol):
    """Where an issuer's keys come from."""

    async def key(self, key_id: str | None) -> PyJWK | None:
        """Return the key of that id, None if there is none; without an id the only key."""


class FileKeys:
    """The keys of a file, read once; raises OSError or ValueError."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._keys = parsed(file.read(MAX_BYTES + 1))

    async def key(self, key_id: str | None) -> PyJWK | None:
        """Return the key of that id."""
        return _chosen(self._keys, key_id)


class UrlKeys:
    """The keys at a URL, fetched when they are first needed, and again when they are old or one is unknown."""

    def __init__(
        self,
        url: str,
        fetch: Callable[[str], bytes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._fetch = fetch or fetched
        self._clock = clock
        self._keys: Keys = {}
        self._fetched_at_s = self._tried_at_s = -1e9
        self._fetching = asyncio.Lock()

    async def key(self, key_id: str | None) -> PyJWK | None:
        """Return the key of that id."""
        async with self._fetching:
            now_s = self._clock()
            is_old = now_s - self._fetched_at_s > MAX_AGE_S
            if (is_old or _chosen(self._keys, key_id) is None) and now_s - self._tried_at_s > RETRY_S:
                self._tried_at_s = now_s
                await self._renew(now_s)
            if now_s - self._fetched_at_s > MAX_STALE_S:
                return None
            return _chosen(self._keys, key_id)

    async def _renew(self, now_s: float) -> None:
        try:
            self._keys = parsed(await asyncio.to_thread(self._fetch, self._url))
            self._fetched_at_s = now_s
        except (httpx.HTTPError, ValueError) as error:
            LOG.error("the keys at %s cannot be had: %s", self._url, str(error) or type(error).__name__)


def fetched(url: str) -> bytes:
    """Return what is at *url*; raises httpx.HTTPError, or ValueError for what is too long."""
    with httpx.Client(timeout=_TIMEOUT_S) as client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        found = b""
        for chunk in answer.iter_bytes():
            found += chunk
            if len(found) > MAX_BYTES:
                raise ValueError(f"longer than {MAX_BYTES} bytes")
        return found


def parsed(text: bytes) -> Keys:
    """Return the keys of a JWK set by their id; raises ValueError."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    try:
        data: dict[str, Any] = json.loads(text)
        found = PyJWKSet.from_dict(data).keys
    except (PyJWTError, ValueError, RecursionError, TypeError, AttributeError) as error:
        raise ValueError(f"not a JWK set with a usable key: {error}") from None
    return {key.key_id or f"#{number}": key for number, key in enumerate(found)}


def _chosen(keys: Keys, key_id: str | None) -> PyJWK | None:
    if key_id is None:
        return next(iter(keys.values())) if len(keys) == 1 else None
    return keys.get(key_id)
