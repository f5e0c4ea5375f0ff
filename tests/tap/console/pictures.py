"""Screenshots for the docs, made by the tests when `make screenshots` asks for them."""

import os
from pathlib import Path

from playwright.sync_api import Page

_FOLDER = os.environ.get("CONSOLE_SCREENSHOTS")


def picture(page: Page, name: str) -> None:
    """Write `console-<name>.png`, if they are asked for."""
    if _FOLDER:
        page.mouse.move(0, 0)
        page.evaluate("document.getElementById('announcements')?.replaceChildren()")
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        page.screenshot(path=Path(_FOLDER) / f"console-{name}.png")
