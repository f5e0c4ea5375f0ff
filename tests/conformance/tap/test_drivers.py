"""One suite over all drivers: each does what it declares, and declares what it does."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from envoy_demo.envoy import program
from envoy_tap.drivers.choice import DRIVERS
from envoy_tap.drivers.port import Can
from tests.conformance.tap.checks import CHECKS
from tests.conformance.tap.rigs import TRIED, rig
from tests.conformance.tap.table import declared, table, written

# Before 1.37 the filter is not called for answers of Envoy's own, nor tells their flags: to call it was CVE-2025-30157
# (Envoy's #38818, undone by `envoy.reloadable_features.skip_ext_proc_on_local_reply: false`), until #41769 allowed it again.
SINCE = (1, 37)
OF_LATER_ENVOYS: Mapping[str, frozenset[Can]] = {"ext_proc": frozenset({Can.LOCAL_REPLY, Can.UPSTREAM})}


def version() -> tuple[int, int]:
    """Return the minor version of the Envoy that is run."""
    told = subprocess.run([program(), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+)\.(\d+)\.", told)
    assert found is not None, told
    return int(found[1]), int(found[2])


@pytest.mark.parametrize("driver", TRIED)
async def test_a_driver_can_what_it_declares_and_no_more(driver: str, tmp_path: Path) -> None:
    found: dict[Can, bool] = {}
    async with rig(driver, tmp_path) as at:
        for can, check in CHECKS.items():
            found[can] = await check(at)
    too_new = OF_LATER_ENVOYS.get(driver, frozenset()) if version() < SINCE else frozenset()
    assert {can for can, holds in found.items() if holds} == DRIVERS[driver].can - too_new


def test_every_capability_is_tried() -> None:
    assert set(CHECKS) == set(Can)


def test_the_table_in_the_docs_is_what_the_suite_holds() -> None:
    found: Mapping[str, frozenset[Can]] = declared()
    assert written() == table(found), "run python -m tests.conformance.tap.table"
