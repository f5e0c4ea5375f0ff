"""One shop and one browser for a module, a fresh tab for a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext

from tests.tap.console.browser import Desk, chromium
from tests.tap.console.shop import Shop, open_shop


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with open_shop(tmp_path_factory.mktemp("shop")) as shop:
        yield shop


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    with chromium(Path(tmp_path_factory.mktemp("browser"))) as context:
        yield context


@pytest.fixture
def desk(shop: Shop, browser: BrowserContext) -> Iterator[Desk]:
    """A tab in which nothing may go wrong: no error, no refusal by the policy, no request to another host."""
    desk = Desk(browser.new_page(), shop.console)
    yield desk
    desk.page.close()
    assert desk.wrongs == []
