"""Which driver a proxy gets: the one that it declares, as long as it declares what that one needs.

A proxy declares `envoy_tap.driver` in its node's metadata; one that says nothing gets `lua`.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from envoy_tap.core.exchange import Node
from envoy_tap.core.node import NAMESPACE, Proxy
from envoy_tap.core.session import Session
from envoy_tap.drivers.admin import AdminDriver
from envoy_tap.drivers.ext_proc import ExtProcDriver
from envoy_tap.drivers.lua import LuaDriver
from envoy_tap.drivers.native import NativeDriver, has_native_sink
from envoy_tap.drivers.port import Driver, DriverError
from envoy_tap.lint.preflight import PreflightError, checked
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup
from envoy_tap.slot.slot import SOCKET_DRIVER
from envoy_tap.slot.subscription import ResourceBuilder, SlotError

DRIVERS: dict[str, Driver] = {
    driver.name: driver for driver in (LuaDriver(), ExtProcDriver(), AdminDriver(), NativeDriver())
}


def driver_of(proxy: Proxy) -> Driver:
    """Return the driver of *proxy*; raises DriverError for one that there is not."""
    driver = DRIVERS.get(proxy.driver)
    if driver is None:
        known = ", ".join(DRIVERS)
        raise DriverError(f"the node's metadata has envoy_tap.driver: {proxy.driver}; known are {known}")
    return driver


def resource(name: str, sessions: Sequence[Session], proxy: Proxy, setup: Setup) -> TypedExtensionConfig:
    """Return what the slot *name* of *proxy* holds; raises SlotError for what it can't have for *sessions*.

    Nothing leaves here that the lint finds an error in.
    """
    try:
        driver = driver_of(proxy)
        _check(driver.name, has_native_sink(proxy), tuple(sessions), setup)
        made = driver.resource(name, sessions, proxy, setup)
    except (DriverError, PreflightError) as error:
        if not sessions:
            return slot_resource(name, (), proxy, setup)
        raise SlotError(str(error)) from None
    return made


@lru_cache(maxsize=64)
def _check(driver: str, is_native: bool, sessions: tuple[Session, ...], setup: Setup) -> None:
    """Lint what *driver* makes, once for all its proxies: their names are literals in it, and nothing more."""
    if driver != SOCKET_DRIVER and any(session.socket for session in sessions):
        raise DriverError(f"{driver} captures no connections; only envoy-tap agent does")
    declared = ((f"{NAMESPACE}.native_sink", "true"),) if is_native else ()
    anyone = Proxy(Node("", ""), declared)
    checked(DRIVERS[driver].resource("slot", sessions, anyone, setup), has_native_sink=is_native)


def builder(setup: Setup) -> ResourceBuilder:
    """Return what the ECDS server builds resources by."""
    return partial(resource, setup=setup)
