"""A local issuer over HTTPS."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.authz.tokens.issuer import Issuer


@pytest.fixture
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    started = Issuer(tmp_path)
    await started.start()
    yield started
    started.gate.set()
    await started.stop()
