"""What every test shares: hypothesis profiles (seeded; the failing example is printed with its seed), and the order."""

import logging
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from envoy_sidecar import collector

TESTS = Path(__file__).parent
# Half a minute to two each. A file is run by one process: whichever begins one of these last keeps the others waiting.
LONG = {
    TESTS / name: place
    for place, name in enumerate(
        (
            "tap/test_program.py",
            "runtime/test_process.py",
            "demo/test_demo.py",
            "tap/console/test_hostile.py",
            "ratelimit/faults/test_faults.py",
            "e2e/test_outages.py",
            "tap/console/test_load.py",
            "planes/test_sovereign.py",
            "runtime/test_workers.py",
            "tap/console/test_story.py",
            "e2e/test_rolling_upgrade.py",
            "e2e/test_rolling_drain.py",
            "ratelimit/test_store_conformance.py",
            "tap/test_agent.py",
            "runtime/test_process_adversity.py",
            "e2e/test_tap_fleet.py",
            "e2e/test_reload.py",
        )
    )
}

settings.register_profile(
    "default", max_examples=60, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep all that was collected: to walk it again and again took a third of the time in a fresh clone."""
    with collector.held():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files; all others keep their order."""
    assert all(file.exists() for file in LONG)
    items.sort(key=lambda item: LONG.get(item.path, len(LONG)))


@pytest.fixture(autouse=True)
def _leave_no_log() -> Iterator[None]:
    """Take away what a command set up for its logs: a later test would find them on its stderr, or its stderr closed."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
