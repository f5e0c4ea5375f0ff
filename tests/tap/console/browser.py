"""A real Chromium, as Debian ships it, that remembers what a page must not do."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.tap.console.shop import TOKENS

CHROMIUM = shutil.which("chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name of somebody else that leads here, as DNS rebinding makes one.
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
VIEW = ViewportSize(width=1440, height=860)
_PATIENCE_MS = 20_000
expect.set_options(timeout=_PATIENCE_MS)


@contextmanager
def chromium(folder: Path) -> Iterator[BrowserContext]:
    """Run it with a user-data-dir of its own, below *folder*."""
    if CHROMIUM is None:
        assert "CI" not in os.environ, "apt-get install chromium"
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "chromium",
            executable_path=CHROMIUM,
            args=_FLAGS,
            headless=True,
            viewport=VIEW,
            accept_downloads=True,
            color_scheme="dark",
            locale="en-GB",
        )
        context.set_default_timeout(_PATIENCE_MS)
        yield context
        context.close()


@dataclass
class Desk:
    """An operator's tab, and what went wrong in it."""

    page: Page
    console: str
    wrongs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.wrongs.append(f"error: {error}"))
        self.page.on("console", self._said)
        self.page.on("request", self._asked)

    def open(self, fragment: str = "") -> Page:
        """Go to a view."""
        self.page.goto(self.console + fragment)
        return self.page

    def sign_in(self, role: str = "operator", fragment: str = "") -> Page:
        """Sign in as a person does, and arrive at a view."""
        self.open(fragment)
        self.page.get_by_label("Token").fill(TOKENS[role])
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("banner").wait_for()
        return self.page

    def row(self, text: str) -> None:
        """Open the first exchange whose row has a text."""
        self.page.locator(".grid-rows .grid-row", has_text=text).first.click()
        expect(self.page.locator(".pane h2")).to_contain_text(text)

    def _said(self, message: ConsoleMessage) -> None:
        # A refusal of the API is an answer, which Chromium reports as well.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.wrongs.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if url.scheme not in {"blob", "data"} and url.netloc != urlsplit(self.console).netloc:
            self.wrongs.append(f"a request left for {request.url}")
