"""The HTML report in a real browser: hostile bodies are text, nothing runs, and nothing is loaded."""

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from tests.tap.export.samples import HOSTILE, written

CHROMIUM = shutil.which("chromium")


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium")
def test_a_hostile_body_does_nothing_in_a_browser(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    # A script that has got in would be stopped by the policy too; this one shows that it is.
    report.write_bytes(written("html").replace(b"</body>", b"<script>document.title='ran'</script></body>"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.goto(report.as_uri())
        title = page.title()
        page.locator("#exchange-3 > summary").click()
        shown = page.locator("#exchange-3").inner_text()
        colour = page.evaluate("getComputedStyle(document.querySelector('.s5')).color")
        browser.close()
    assert title.startswith("tap session 0123456789ab: INC-1")
    assert shown.count(HOSTILE) >= 3
    assert asked == [report.as_uri()]
    assert colour == "rgb(204, 34, 34)"
    assert len(said) == 1
    assert "Content Security Policy" in said[0]
