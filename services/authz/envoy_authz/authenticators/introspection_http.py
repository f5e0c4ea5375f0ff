"""The introspection endpoint of an authorization server, asked by HTTPS (RFC 7662 section 2)."""

import asyncio
import ssl
from collections.abc import Mapping

import httpx

from envoy_authz.tokens.fetch import MAX_BODY_BYTES, FetchError
from envoy_authz.tokens.strict import parse_object

_OK = 200


class IntrospectionEndpoint:
    """An `Ask`: posts a token to *uri* as *client_id*, authenticated by *secret* (HTTP Basic).

    One connection pool for the thread that uses it. Errors hold neither token, secret nor answer.
    """

    def __init__(
        self,
        uri: str,
        client_id: str,
        secret: str,
        *,
        timeout_s: float = 2.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._uri = uri
        self._auth = httpx.BasicAuth(client_id, secret)
        self._timeout_s = timeout_s
        self._tls = tls
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, token: str) -> Mapping[str, object]:
        """Return what the endpoint says of *token*; raises FetchError."""
        if self._client is None:  # made on the loop that uses it
            self._client = httpx.AsyncClient(
                verify=True if self._tls is None else self._tls, auth=self._auth, follow_redirects=False
            )
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream(
                    "POST",
                    self._uri,
                    data={"token": token, "token_type_hint": "access_token"},
                    headers={"accept": "application/json"},
                    timeout=None,
                ) as answer,
            ):
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        raise FetchError("the answer is too large")
                if answer.status_code != _OK:
                    raise FetchError(f"status {answer.status_code}")
                return parse_object(bytes(body))
        except TimeoutError:
            raise FetchError("no answer in time") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as error:
            raise FetchError(type(error).__name__) from None
