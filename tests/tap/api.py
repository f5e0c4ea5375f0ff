"""The session API in this process, asked as over HTTP."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from envoy_sidecar.transport.address import Address
from envoy_tap.access import Authority
from envoy_tap.api import Access, Services, routes
from envoy_tap.archive import Archive
from envoy_tap.audit import AuditLog, Recorder
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.policy import Policy
from envoy_tap.core.session import Kept
from envoy_tap.registry import Registry
from envoy_tap.session_sink import SessionSink
from envoy_tap.slot.slot import Slot
from tests.tap.building import REQUEST, RESPONSE, Clock, exchange
from tests.tap.stores import sqlite_store

WHY = {"why": "INC-1"}
URL = "/api/v1/sessions"


def entry(name: str, role: str, teams: str = "") -> str:
    sha256 = hashlib.sha256(f"token-of-{name}".encode()).hexdigest()
    listed = f", teams: [{teams}]" if teams else ""
    return f"- {{name: {name}, role: {role}{listed}, sha256: {sha256}}}\n"


NODE = {"id": "edge-1", "cluster": "edge", "sent_version": "1", "acked_version": "1", "nack": ""}


@asynccontextmanager
async def api(
    data: Path,
    tokens: Path | None = None,
    *,
    admin: str = "127.0.0.1:9394",
    host: str = "127.0.0.1:9394",
    jwt: Path | None = None,
    rules: Path | None = None,
) -> AsyncIterator[tuple[httpx.AsyncClient, Registry]]:
    clock = Clock()
    store = sqlite_store(data)
    registry = Registry(Slot(clock), store, Policy(), b"key", clock=clock)
    access = Access(Authority(tokens, jwt, rules), Address.parse(admin))
    audit = AuditLog(data, [b"key"])

    def nodes() -> list[dict[str, Any]]:
        return [{**NODE, "sessions": [each.session.id for each in registry.all()]}]

    app = Starlette(routes=list(routes(Services(registry, Archive(store), nodes, access, Recorder(audit)))))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
        yield client, registry
    store.close()
    audit.close()


async def captured(registry: Registry, *exchanges: Exchange, **asked: Any) -> str:
    """Return the id of a session that has captured *exchanges*."""
    session_id = (await registry.start({**WHY, **asked}, "x")).session.id
    store_exchanges(registry, session_id, *exchanges)
    return session_id


def store_exchanges(registry: Registry, session_id: str, *exchanges: Exchange) -> None:
    for each in exchanges:
        admitted = registry.admit(replace(each, tap_id=session_id))
        assert isinstance(admitted, Exchange)
        SessionSink(registry._store).write([registry.redacted(admitted)])
        registry.stored(admitted, Kept.of(admitted))


def on(path: bytes, status: bytes = b"200") -> Exchange:
    return exchange(
        replace(REQUEST, headers=((":method", b"GET"), (":path", path))),
        replace(RESPONSE, headers=((":status", status),)),
    )


def bearer(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer token-of-{name}"}
