"""What peers send is text and pictures, whatever it says that it is; and what is wrong is said with what to do."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from tests.tap.console.browser import Desk
from tests.tap.console.cable import laid_to
from tests.tap.console.pictures import picture
from tests.tap.console.shop import GRPC_FRAME, HOSTILE, Shop, console_of

FORM = (
    f'--x\r\ncontent-disposition: form-data; name="file"; filename="../../{HOSTILE}.svg"\r\n'
    f"content-type: image/svg+xml\r\n\r\n{HOSTILE}\r\n--x--\r\n"
).encode()
IS_HACKED = "document.documentElement.dataset.hacked ?? ({}).polluted ?? null"
# Elements that could run, load or navigate, beside our own.
FOREIGN = "document.querySelectorAll('body script, iframe, object, embed, base, meta[http-equiv], svg svg, svg script, form[action], a[href^=javascript]').length"  # fmt: skip
# Clicks through all tabs, and in each through all ways to show the body; returns their names.
EVERY_WAY = """async () => {
  const shown = [];
  for (const tab of document.querySelectorAll("[role=tab]")) {
    tab.click();
    shown.push(tab.textContent);
    for (const way of document.querySelectorAll("[data-way]")) {
      way.click();
      shown.push(way.textContent);
    }
    await new Promise(requestAnimationFrame);
    for (const fold of document.querySelectorAll(".j-toggle[aria-expanded=false]")) fold.click();
  }
  return shown;
}"""
MODULES = Path(__file__).with_name("modules.js").read_text("utf-8")
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="module")
def captured(shop: Shop) -> str:
    """A session with all that is hostile."""
    session_id = shop.session(f"hostile {HOSTILE}"[:200])
    for path in ("/page", "/drawing.svg", "/lies.png", "/broken.json", "/binary", "/logo.png", "/refunds"):
        shop.order("GET", path, x_evil=HOSTILE, referer=f"javascript:{HOSTILE}")
    shop.order("POST", "/orders", FORM, content_type="multipart/form-data; boundary=x")
    shop.order("POST", "/orders", b"a=<b>&password=c&d=" + b"e" * 200_000, content_type="application/x-www-form-urlencoded")  # fmt: skip
    shop.order("POST", "/orders", b"[" * 20_000 + b"]" * 20_000, content_type="application/json")
    shop.order("POST", "/shop.Cart/Add", GRPC_FRAME, content_type="application/grpc")
    shop.order("GET", f"/{'%3Cscript%3E'}?next=javascript:alert(1)&password={'x' * 50}")
    shop.has(session_id, 12)
    return session_id


def test_nothing_captured_ever_runs_in_any_way_of_showing_it(desk: Desk, captured: str) -> None:
    page = desk.sign_in("admin", f"#/session/{captured}?vs=1")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "13")
    for seq in range(1, 13):
        page.locator(f".grid-rows .grid-row[data-seq='{seq}']").click()
        expect(page.locator(".pane-line .hint")).to_have_text(f"#{seq}")
        expect(page.locator(".pane").get_by_role("tab").first).to_be_visible()
        shown = page.evaluate(EVERY_WAY)
        assert {"Request", "Response", "Hex"} <= set(shown), seq
        assert page.evaluate(IS_HACKED) is None, seq
        assert page.evaluate(FOREIGN) == 0, seq


def test_only_what_begins_as_a_picture_is_shown_as_one(desk: Desk, captured: str) -> None:
    page = desk.sign_in("viewer", f"#/session/{captured}?tab=response")
    for text, is_picture in (("/logo.png", True), ("/lies.png", False), ("/drawing.svg", False)):
        desk.row(text)
        expect(page.locator(".pane-head")).to_contain_text(text)
        ways = page.get_by_role("group", name="How to show the body")
        expect(ways.get_by_role("button", name="Image")).to_have_count(int(is_picture))
        if is_picture:
            expect(page.get_by_text(re.compile("image/png, 240 . 120"))).to_be_visible()
        expect(page.locator("#page img")).to_have_count(int(is_picture))


def test_broken_and_deep_bodies_are_shown_as_far_as_they_go(desk: Desk, captured: str) -> None:
    page = desk.sign_in("viewer", f"#/session/{captured}?tab=response")
    desk.row("/broken.json")
    expect(page.locator(".json .cut")).to_contain_text("it is cut off here")
    expect(page.locator(".json")).to_contain_text("</script><script>")
    page.locator(".grid-rows .grid-row[data-seq='10']").click()
    page.get_by_role("tab", name="Request").click()
    expect(page.locator(".json .j-toggle").first).to_be_visible()
    page.locator(".grid-rows .grid-row[data-seq='9']").click()
    page.get_by_role("button", name="Raw").click()
    expect(page.get_by_text("a body of this exchange is cut")).to_be_visible()


def test_the_diff_and_the_json_reader_hold_for_any_input(desk: Desk) -> None:
    page = desk.open()
    page.get_by_label("Token").wait_for()
    seed = 20261124
    assert page.evaluate(MODULES, seed) == [], seed


def test_an_export_is_a_file_with_a_plain_name_that_no_browser_runs(desk: Desk, captured: str, tmp_path: Path) -> None:  # fmt: skip
    page = desk.sign_in("viewer", f"#/session/{captured}")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "13")
    for name, suffix in (("JSON lines", "jsonl"), ("HTML report", "html")):
        page.get_by_role("button", name="Export").click()
        page.get_by_role("radio", name=name).check()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save").click()
        assert download.value.suggested_filename.endswith(f".{suffix}")
        assert set(download.value.suggested_filename) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        download.value.save_as(tmp_path / suffix)
    lines = (tmp_path / "jsonl").read_text("utf-8").splitlines()
    assert len([json.loads(line) for line in lines]) == 12


def test_an_interruption_is_said_and_nothing_is_missed(browser: BrowserContext, shop: Shop) -> None:
    session_id = shop.session("an interruption", "path=/cart")
    shop.order("GET", "/cart")
    with laid_to(shop.tap.admin_port) as cable:
        desk = Desk(browser.new_page(), f"http://127.0.0.1:{cable.port}/")
        page = desk.sign_in("operator", f"#/session/{session_id}")
        expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "2")
        cable.cut()
        expect(page.get_by_text("Disconnected.")).to_be_visible()
        picture(page, "disconnected")
        shop.order("GET", "/cart")
        cable.mend()
        page.get_by_role("button", name="Try now").click()
        expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "3")
        expect(page.get_by_text("Disconnected.")).to_be_hidden()
        page.close()
        assert desk.wrongs == []


def test_a_session_that_ends_by_its_time_says_what_to_do(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("a short one", "path=/never", limits={"duration_s": 2})
    page = desk.sign_in("operator", f"#/session/{session_id}")
    expect(page.get_by_text("It is expired, and captured nothing.")).to_be_visible()
    page.get_by_role("link", name="Start again").click()
    expect(page.get_by_label("Why")).to_have_value("a short one")
    expect(page.get_by_role("textbox", name="Predicate")).to_have_value('path = "/never"')


def test_a_token_that_is_taken_back_ends_at_the_sign_in_and_the_view_stays(desk: Desk, captured: str) -> None:
    page = desk.sign_in("viewer", f"#/session/{captured}?filter=status%3D502")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "2")
    page.evaluate("sessionStorage.setItem('envoy-tap-token', 'revoked')")
    page.get_by_role("textbox", name="Filter").fill("status=200")
    expect(page.get_by_text("Your token is no longer valid.")).to_be_visible()
    desk.sign_in("viewer", f"#/session/{captured}?filter=status%3D502")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "2")


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service without tokens, which trusts this machine; its port."""
    folder = Path(tmp_path_factory.mktemp("trusting"))
    with Processes(folder) as processes:
        tap = start_tap(processes, folder / "data")
        tap.wait_ready()
        yield tap


def test_without_tokens_its_own_page_on_this_machine_is_let_in(browser: BrowserContext, trusting: Service) -> None:  # fmt: skip
    desk = Desk(browser.new_page(), console_of(trusting))
    page = desk.open()
    expect(page.get_by_role("banner")).to_contain_text("local")
    expect(page.get_by_role("link", name="Start a session")).to_be_visible()
    page.close()
    assert desk.wrongs == []


def test_without_tokens_no_other_page_is_let_in(browser: BrowserContext, shop: Shop, trusting: Service) -> None:  # fmt: skip
    page = browser.new_page()
    rebound = page.goto(f"http://evil.example:{trusting.admin_port}/")
    assert rebound is not None
    assert rebound.status == 421
    # Another port of this machine, where somebody else serves a page.
    page.goto(f"http://127.0.0.1:{shop.envoy.port}/cart")
    answers: list[str] = []
    page.on("response", lambda answer: answers.append(f"{answer.request.method} {answer.status}"))
    url = f"{console_of(trusting)}api/v1/sessions"
    for init in ("{mode: 'no-cors'}", "{method: 'POST', mode: 'no-cors', body: '{}'}"):
        page.evaluate(f"fetch({url!r}, {init}).then(() => null)")
    assert answers == ["GET 403", "POST 403"]
    assert page.evaluate(f"fetch({url!r}).then(() => 'read', () => 'refused')") == "refused"
    page.evaluate(f"document.body.append(Object.assign(document.createElement('iframe'), {{src: {console_of(trusting)!r}}}))")  # fmt: skip
    expect(page.locator("iframe")).to_have_count(1)
    page.wait_for_function("frames.length === 1")
    page.frames[1].wait_for_load_state()
    assert page.frames[1].url.startswith("chrome-error:")
    page.close()


def serious(page: Page, rules: Mapping[str, object] = MappingProxyType({})) -> list[str]:
    # Of what is well it then names one element each, not every one with its selector.
    found = Axe().run(page, options={"resultTypes": ["violations"], **rules})
    assert found.response["passes"]
    return [
        f"{each['id']}: {each['help']} ({node['html'][:200]})"
        for each in found.response["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


CONTRAST = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}


def test_no_serious_finding_about_accessibility(desk: Desk, captured: str) -> None:
    page = desk.open()
    page.get_by_label("Token").wait_for()
    found = serious(page)
    desk.sign_in("admin")
    page.get_by_role("article").first.wait_for()
    found += in_both_schemes(page)
    desk.open("#/nodes")
    page.get_by_role("table").wait_for()
    found += serious(page)
    desk.open("#/start")
    page.get_by_label("Why").fill("accessible")
    page.get_by_role("textbox", name="Predicate").fill("pth=1")
    page.get_by_text("is not a field").wait_for()
    found += in_both_schemes(page)
    desk.open(f"#/session/{captured}?pin=1&seq=7&tab=response")
    page.locator(".json").wait_for()
    found += in_both_schemes(page)
    page.get_by_role("button", name="Export").first.click()
    page.get_by_role("dialog").wait_for()
    found += serious(page)
    assert found == []


def in_both_schemes(page: Page) -> list[str]:
    """What the schemes share is looked at once."""
    page.emulate_media(color_scheme="light")
    found = serious(page, CONTRAST)
    page.emulate_media(color_scheme="dark")
    return found + serious(page)
