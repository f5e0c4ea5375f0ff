"""Fetching keys over HTTP: bounded in time and size, and nothing of an answer ever in an error."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx

MAX_BODY_BYTES = 1 << 20
"""How large a key set or a discovery document may be."""

_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})(?:$|[,\s])", re.IGNORECASE)
_OK = 200


class FetchError(Exception):
    """A fetch that failed; the message is for operators and holds nothing of the answer."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What was fetched; `max_age_s` is how long it may be kept (`cache-control: max-age`), None if not said."""

    body: bytes
    max_age_s: float | None = None


Fetch = Callable[[str, float], Awaitable[Fetched]]
"""Fetches a URI within a time in seconds; raises FetchError. The port between key sources and the network."""


class HttpFetcher:
    """A `Fetch` by httpx: HTTPS with verified certificates, no redirects; one pool of connections for all issuers.

    *tls* is the context that certificates are verified with; None takes the public authorities, or
    those that `SSL_CERT_FILE` or `SSL_CERT_DIR` in the environment name.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._client = httpx.AsyncClient(
            verify=True if tls is None else tls,
            follow_redirects=False,
            headers={"accept": "application/jwk-set+json, application/json"},
            limits=httpx.Limits(max_keepalive_connections=4, keepalive_expiry=5.0),
        )

    async def __call__(self, uri: str, timeout_s: float) -> Fetched:
        """Fetch *uri*; see `Fetch`."""
        try:
            # httpx's own timeouts are for each read: a server that sends byte by byte would never meet them.
            async with asyncio.timeout(timeout_s), self._client.stream("GET", uri, timeout=None) as answer:
                if answer.status_code != _OK:
                    raise FetchError(f"status {answer.status_code}")
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise FetchError(f"the answer is larger than {MAX_BODY_BYTES} bytes")
                return Fetched(bytes(body), _max_age(answer.headers.get("cache-control", "")))
        except TimeoutError:
            raise FetchError(f"no answer within {timeout_s:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            raise FetchError(f"{type(error).__name__}: {str(error)[:200]}") from None

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def _max_age(cache_control: str) -> float | None:
    found = _MAX_AGE.search(cache_control)
    return float(found[1]) if found else None
