"""Which driver a proxy gets: the one that it declares, as long as it declares what that one needs.

A proxy declares `envoy_tap.driver` in its node's metadata; one that says nothing gets `lua`.
"""

from collections.abc import Sequence
from functools import partial

from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from envoy_tap.core.node import Proxy
from envoy_tap.core.session import Session
from envoy_tap.drivers.admin import AdminDriver
from envoy_tap.drivers.ext_proc import ExtProcDriver
from envoy_tap.drivers.lua import LuaDriver
from envoy_tap.drivers.native import NativeDriver, has_native_sink
from envoy_tap.drivers.port import Driver, DriverError
from envoy_tap.lint.preflight import PreflightError, checked
from envoy_tap.slot.resources import slot_resource
from envoy_tap.slot.script import Setup
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
        made = driver_of(proxy).resource(name, sessions, proxy, setup)
        checked(made, has_native_sink=has_native_sink(proxy))
    except (DriverError, PreflightError) as error:
        if not sessions:
            return slot_resource(name, (), proxy, setup)
        raise SlotError(str(error)) from None
    return made


def builder(setup: Setup) -> ResourceBuilder:
    """Return what the ECDS server builds resources by."""
    return partial(resource, setup=setup)
