"""A real Envoy for each driver, tapped by it, all seen from inside one event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from envoy_demo import configs
from envoy_sidecar.transport.address import Address
from envoy_tap.agent.agent import Agent, Place
from envoy_tap.core.exchange import Node
from tests.tap.proxied import Tapped, tapped

ROUTE = "orders-route"
TRIED = ("lua", "ext_proc", "admin")
SLOT = "envoy_tap_slot"


@asynccontextmanager
async def rig(driver: str, folder: Path) -> AsyncIterator[Tapped]:
    """Start an Envoy that is tapped by *driver*."""
    if driver != "admin":
        async with tapped(folder, metadata={"driver": driver}, change=name_route) as at:
            yield at
        return
    async with tapped(folder, change=without_xds) as at:
        place = Place(Address("127.0.0.1", at.envoy.admin_port), Node("edge-1", "edge"), "envoy_tap")
        async with at.channel() as channel:
            running = asyncio.create_task(Agent(place, channel).run())
            try:
                yield at
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running


def name_route(config: configs.Config) -> None:
    """Give the one route a name."""
    manager(config)["route_config"]["virtual_hosts"][0]["routes"][0]["name"] = ROUTE


def without_xds(config: configs.Config) -> None:
    """Put a tap filter that the admin interface fills in the slot's place."""
    name_route(config)
    filters = manager(config)["http_filters"]
    (place,) = (number for number, each in enumerate(filters) if each["name"] == SLOT)
    filters[place] = {
        "name": "tap",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.tap.v3.Tap",
            "common_config": {"admin_config": {"config_id": "envoy_tap"}},
            "record_headers_received_time": True,
            "record_downstream_connection": True,
        },
    }


def manager(config: configs.Config) -> dict[str, Any]:
    """Return the connection manager of the one listener."""
    found: dict[str, Any] = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]
    typed: dict[str, Any] = found["typed_config"]
    return typed
