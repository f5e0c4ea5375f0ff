"""Keys over a real HTTPS connection: rotation, outages, slow and hostile issuers, and requests that never wait."""

import asyncio
import gc
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from envoy_authz.tokens import Expectations, TokenError, parse_jwks, parse_jwt, verify
from envoy_authz.tokens.fetch import MAX_BODY_BYTES, Fetched, FetchError, HttpFetcher
from envoy_authz.tokens.remote import RemoteKeys, RemoteLocation
from envoy_authz.tokens.schedule import Timing
from envoy_authz.tokens.sources import KeyRing
from tests.authz.tokens.issuer import Issuer
from tests.authz.tokens.minting import (
    ISSUER,
    JWKS,
    NOW_S,
    OTHER_RSA_KEY,
    RSA_KEY,
    claims,
    jwks,
    public_jwk,
    token,
)

# Short, so that a test is; what is awaited is always an event.
QUICK = Timing(
    fresh_s=1000, least_fresh_s=0.01, stale_s=1000, retry_s=0.01, most_retry_s=0.02, cool_down_s=0.01
)
OLD = jwks(public_jwk(RSA_KEY, kid="old"))
NEW = jwks(public_jwk(OTHER_RSA_KEY, kid="new"))


@pytest.fixture(scope="module", autouse=True)
def _little_to_walk() -> Iterator[None]:
    """Keep what lives by now out of the collections at the end of each test, of which each would take half a second."""
    gc.freeze()
    yield
    gc.unfreeze()


@asynccontextmanager
async def running(issuer: Issuer, timing: Timing = QUICK, path: str = "/jwks") -> AsyncIterator[RemoteKeys]:
    fetcher = HttpFetcher(issuer.client_tls)
    source = RemoteKeys(RemoteLocation(uri=issuer.url + path, timeout_s=2), fetcher, timing)
    task = asyncio.create_task(source.run())
    try:
        yield source
    finally:
        await end(task)
        await fetcher.aclose()


async def end(task: asyncio.Task[None]) -> None:
    """End a task that may be in the middle of a fetch; httpcore leaves a socket open when a TLS handshake is cancelled."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        del task
        gc.collect()


def kids(source: RemoteKeys) -> list[str | None]:
    return [] if source.keys is None else [key.key_id for key in source.keys.keys]


def subject(source: RemoteKeys, text: str) -> str:
    try:
        return verify(parse_jwt(text), source, Expectations(ISSUER), NOW_S).subject
    except TokenError as error:
        return error.flaw


async def test_keys_come_by_https(issuer: Issuer) -> None:
    issuer.publish(JWKS)
    async with running(issuer) as source:
        assert source.keys is None
        await source.attempted()
        assert subject(source, token()) == "alice"
        assert source.describe()["keys"] == 6
        assert source.describe()["trouble"] == ""


async def test_rotation_an_unknown_kid_brings_the_new_keys(issuer: Issuer) -> None:
    issuer.publish(OLD)
    old, new = token(kid="old", key=RSA_KEY), token(kid="new", key=OTHER_RSA_KEY)
    async with running(issuer) as source:
        await source.attempted()
        assert subject(source, old) == "alice"
        before = source.keys
        issuer.publish(NEW)
        assert subject(source, new) == "key_unknown"  # it never waits
        await source.attempted(2)
        assert subject(source, new) == "alice"
        assert subject(source, old) == "key_unknown"
        assert source.keys is not before


async def test_a_fetch_that_changes_nothing_keeps_the_same_keys(issuer: Issuer) -> None:
    issuer.publish(OLD)
    async with running(issuer) as source:
        await source.attempted()
        before = source.keys
        source.want()
        await source.attempted(2)
        assert source.keys is before


async def test_a_refresh_comes_by_itself_ahead_of_expiry(issuer: Issuer) -> None:
    issuer.publish(OLD, headers="cache-control: public, max-age=0\r\n")
    async with running(issuer) as source:
        await source.attempted()
        issuer.publish(NEW, headers="cache-control: max-age=0\r\n")
        await source.attempted(source.attempts + 2)
        assert kids(source) == ["new"]


async def test_however_many_want_a_key_there_is_one_fetch(issuer: Issuer) -> None:
    issuer.publish(OLD)
    async with running(issuer, replace(QUICK, cool_down_s=0.05)) as source:
        await source.attempted()
        issuer.gate.clear()
        issuer.arrived.clear()
        threads = [asyncio.to_thread(subject, source, token(kid=f"k{n}", key=RSA_KEY)) for n in range(20)]
        assert set(await asyncio.gather(*threads)) == {"key_unknown"}
        await issuer.arrived.wait()
        for n in range(20):
            assert subject(source, token(kid=f"l{n}", key=RSA_KEY)) == "key_unknown"
        assert len(issuer.requests) == 2
        issuer.gate.set()
        await source.attempted(2)


async def test_an_unknown_kid_is_asked_for_once_in_a_cool_down(issuer: Issuer) -> None:
    issuer.publish(OLD)
    async with running(issuer, replace(QUICK, cool_down_s=3600)) as source:
        await source.attempted()
        for n in range(50):
            assert subject(source, token(kid=f"k{n}", key=RSA_KEY)) == "key_unknown"
            await asyncio.sleep(0)
        assert len(issuer.requests) == 1


async def test_it_starts_with_the_issuer_down_and_finds_it_later(
    issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    await issuer.stop()
    with caplog.at_level(logging.WARNING):
        async with running(issuer) as source:
            await source.attempted(3)
            assert subject(source, token(kid="old", key=RSA_KEY)) == "keys_unavailable"
            issuer.publish(OLD)
            await issuer.start()
            while source.keys is None:
                await source.attempted(source.attempts + 1)
            assert subject(source, token(kid="old", key=RSA_KEY)) == "alice"
    assert len([one for one in caplog.records if "none are here yet" in one.message]) == 1


async def test_while_the_issuer_is_away_the_last_good_keys_serve_on_for_a_bounded_time(
    issuer: Issuer,
) -> None:
    issuer.publish(OLD)
    now_s = 0.0
    fetcher = HttpFetcher(issuer.client_tls)
    source = RemoteKeys(RemoteLocation(uri=issuer.url + "/jwks"), fetcher, QUICK, clock=lambda: now_s)
    task = asyncio.create_task(source.run())
    await source.attempted()
    issuer.answers["/jwks"] = (503, "", "")
    now_s = 1500.0  # fresh until 1000, stale until 2000
    source.want()
    await source.attempted(2)
    assert source.describe()["trouble"] == "status 503"
    assert kids(source) == ["old"]
    now_s = 2000.0
    while source.keys is not None:  # noqa: ASYNC110 - the task has to have a turn
        await asyncio.sleep(0.005)
    assert subject(source, token(kid="old", key=RSA_KEY)) == "keys_unavailable"
    await end(task)
    await fetcher.aclose()


BAD_ANSWERS = {
    "an error": (500, "", OLD),
    "a redirect": (302, "location: https://localhost/evil\r\n", ""),
    "no JSON": (200, "", "<html>"),
    "no key set": (200, "", "{}"),
    "duplicate members": (200, "", '{"keys": [], "keys": []}'),
    "too deep": (200, "", "[" * 100_000),
    "too large": (200, "", '{"keys": [], "x": "' + "a" * MAX_BODY_BYTES + '"}'),
    "a bad encoding": (200, "content-encoding: gzip\r\n", "no gzip"),
}


@pytest.mark.parametrize("answer", BAD_ANSWERS.values(), ids=BAD_ANSWERS.keys())
async def test_a_bad_answer_changes_nothing(issuer: Issuer, answer: tuple[int, str, str]) -> None:
    issuer.publish(OLD)
    async with running(issuer) as source:
        await source.attempted()
        issuer.answers["/jwks"] = answer
        source.want()
        await source.attempted(2)
        assert kids(source) == ["old"]
        assert source.describe()["trouble"]


async def test_an_empty_key_set_is_obeyed(issuer: Issuer) -> None:
    issuer.publish(OLD)
    async with running(issuer) as source:
        await source.attempted()
        issuer.publish(jwks())
        source.want()
        await source.attempted(2)
        assert subject(source, token(kid="old", key=RSA_KEY)) == "key_unknown"


async def test_a_certificate_that_is_not_trusted_is_refused(issuer: Issuer) -> None:
    issuer.publish(OLD)
    fetcher = HttpFetcher()
    with pytest.raises(FetchError, match="certificate verify failed"):
        await fetcher(f"{issuer.url}/jwks", 2)
    await fetcher.aclose()


async def test_a_silent_issuer_is_given_up(issuer: Issuer) -> None:
    issuer.gate.clear()
    fetcher = HttpFetcher(issuer.client_tls)
    with pytest.raises(FetchError, match=r"no answer within 0\.1 s"):
        await fetcher(f"{issuer.url}/jwks", 0.1)
    await fetcher.aclose()


async def test_discovery_finds_the_keys_of_that_issuer_only(issuer: Issuer) -> None:
    issuer.publish(OLD, path="/keys")
    fetcher = HttpFetcher(issuer.client_tls)
    location = RemoteLocation(issuer=f"{issuer.url}/", timeout_s=2)
    source = RemoteKeys(location, fetcher, QUICK)
    task = asyncio.create_task(source.run())
    for metadata in (
        ("https://evil.example", f"{issuer.url}/keys"),
        (f"{issuer.url}/", "http://localhost/keys"),
        (f"{issuer.url}/", "file:///etc/passwd"),
    ):
        issuer.publish_metadata(*metadata)
        await source.attempted(source.attempts + 2)
        assert source.keys is None
        assert "discovery document" in source.trouble
    issuer.publish_metadata(f"{issuer.url}/", f"{issuer.url}/keys")
    while source.keys is None:
        await source.attempted(source.attempts + 1)
    assert kids(source) == ["old"]
    await end(task)
    await fetcher.aclose()


# All sources of a process


async def test_a_ring_keeps_what_a_reload_keeps_and_ends_the_rest(issuer: Issuer) -> None:
    issuer.publish(OLD, path="/a")
    issuer.publish(NEW, path="/b")
    first, second = (RemoteLocation(uri=issuer.url + path, timeout_s=2) for path in ("/a", "/b"))
    ring = KeyRing(QUICK, tls=issuer.client_tls)
    before = ring.use([first])[first]
    await ring.start()
    assert kids(before) == ["old"]
    used = await asyncio.to_thread(ring.use, [first, second])
    assert used[first] is before
    await used[second].attempted()
    assert kids(used[second]) == ["new"]
    ring.use([second])
    assert [state["uri"] for state in ring.describe()] == [second.uri]
    await ring.stop()
    used[second].want()


async def test_a_ring_starts_without_the_issuer(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    issuer.gate.clear()
    ring = KeyRing(QUICK, tls=issuer.client_tls)
    location = RemoteLocation(uri=f"{issuer.url}/jwks", timeout_s=2)
    source = ring.use([location])[location]
    with caplog.at_level(logging.WARNING):
        await ring.start(grace_s=0.05)
    assert source.keys is None
    assert "its tokens are refused until then" in caplog.text
    await ring.stop()


async def test_a_fault_of_ours_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_uri: str, _timeout_s: float) -> Fetched:
        raise RuntimeError("ours")

    source = RemoteKeys(RemoteLocation(uri="https://x"), broken, QUICK)
    task = asyncio.create_task(source.run())
    await source.attempted(2)
    assert "a fault of ours" in caplog.text
    await end(task)


def test_a_token_is_never_verified_by_keys_of_another_use() -> None:
    spiffe = jwks(public_jwk(RSA_KEY, kid="rsa", use="jwt-svid"))
    assert parse_jwks(spiffe).keys == ()
    assert len(parse_jwks(spiffe, uses=frozenset({"jwt-svid"})).keys) == 1
    assert claims()["iss"] == ISSUER
