"""One suite over all drivers: each does what it declares, and declares what it does."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from envoy_tap.drivers.choice import DRIVERS
from envoy_tap.drivers.port import Can
from tests.conformance.tap.checks import CHECKS
from tests.conformance.tap.rigs import TRIED, rig
from tests.conformance.tap.table import declared, table, written
from tests.e2e.newer import OWN_ANSWERS

OF_NEWER_ENVOYS: Mapping[str, frozenset[Can]] = {"ext_proc": frozenset({Can.LOCAL_REPLY, Can.UPSTREAM})}


@pytest.mark.parametrize("driver", TRIED)
async def test_a_driver_can_what_it_declares_and_no_more(driver: str, tmp_path: Path) -> None:
    found: dict[Can, bool] = {}
    async with rig(driver, tmp_path) as at:
        for can, check in CHECKS.items():
            found[can] = await check(at)
    too_new = frozenset() if OWN_ANSWERS.is_here else OF_NEWER_ENVOYS.get(driver, frozenset())
    assert {can for can, holds in found.items() if holds} == DRIVERS[driver].can - too_new


def test_every_capability_is_tried() -> None:
    assert set(CHECKS) == set(Can)


def test_the_table_in_the_docs_is_what_the_suite_holds() -> None:
    found: Mapping[str, frozenset[Can]] = declared()
    assert written() == table(found), "run python -m tests.conformance.tap.table"
