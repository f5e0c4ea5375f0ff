"""The whole story as an operator lives it: a real Chromium, a real Envoy, and the service between them."""

import json
import re
from pathlib import Path

from playwright.sync_api import BrowserContext, Page, expect

from envoy_demo.processes import Processes
from tests.tap.console.browser import Desk
from tests.tap.console.pictures import picture
from tests.tap.console.shop import ORDER, Shop, console_of, start_tap

BODY = json.dumps(ORDER).encode()
SECRETS = ("hunter2", "s3cr3t", "4111-1111", "alice@shop.example")


def place_orders(shop: Shop, count: int = 3) -> None:
    for number in range(count):
        shop.order("GET", "/cart", x_user="alice", authorization="Bearer s3cr3t-bearer")
        shop.order("POST", f"/orders?page={number}&token=s3cr3t-q", BODY, content_type="application/json")
        shop.order("GET", "/logo.png")
        shop.order("GET", "/refunds", x_user="bob")
        shop.order("GET", "/nowhere")


def test_sign_in_start_look_compare_filter_export_stop(desk: Desk, shop: Shop, tmp_path: Path) -> None:
    sign_in(desk)
    session_id = start(desk)
    page = desk.page
    expect(page.get_by_text("Waiting for the first request.")).to_be_visible()
    shop.is_armed(session_id)
    expect(page.get_by_role("listitem").filter(has_text="edge-1")).to_contain_text("armed")
    place_orders(shop)
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "16")
    picture(page, "exchanges")
    look_at_one(desk)
    compare_two(desk)
    filter_live(page, shop)
    export_har(page, tmp_path)

    shop.session("INC-4718: who sends the old API version?", "path^=/v1 and header[x-user] exists")
    shop.session(
        "Checkout is slow for alice", "header[x-user]=alice and latency>250ms", limits={"exchanges": 20}
    )
    place_orders(shop, 1)
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.locator(".strip .chip").first).to_have_text("stopped")
    page.get_by_role("link", name="To all sessions").click()
    card = page.get_by_role("article").filter(has_text="INC-4711")
    expect(page.get_by_role("article")).to_have_count(3)
    expect(page.get_by_text("armed")).to_have_count(2)
    picture(page, "sessions")
    expect(card).to_contain_text("21 of 1,000")
    expect(card.get_by_role("button", name="Start again")).to_be_visible()


def sign_in(desk: Desk) -> None:
    page = desk.open()
    page.get_by_label("Token").fill("not-a-token")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_contain_text("not valid")
    picture(page, "sign-in")
    desk.sign_in("admin")
    expect(page.get_by_text("No session yet.")).to_be_visible()


def start(desk: Desk) -> str:
    page = desk.page
    page.get_by_role("link", name="Start a session").click()
    page.get_by_label("Why").fill("INC-4711: refunds answer 502")
    page.get_by_label("Path, without the query").fill("/")
    expect(page.get_by_role("textbox", name="Predicate")).to_have_value("path ^= /")
    page.get_by_label("Response status").fill("900")
    expect(page.get_by_text("'900' is not a status")).to_be_visible()
    expect(page.get_by_role("button", name="Start capturing")).to_be_disabled()
    page.get_by_label("Response status").fill("")
    expect(page.get_by_text("Nothing has been captured yet to try it on.")).to_be_visible()
    happens = page.get_by_role("complementary")
    expect(happens).to_contain_text('path ^= "/"')
    page.get_by_text("By pattern").click()
    page.get_by_label("Ids, * is any text").fill("other-*")
    expect(happens).to_contain_text("0 of 1 Envoy connected")
    page.get_by_label("Ids, * is any text").fill("edge-*")
    expect(happens).to_contain_text("1 of 1 Envoy connected: edge-1")
    picture(page, "start")
    page.get_by_role("button", name="Start capturing").click()
    page.wait_for_url(re.compile("#/session/"))
    return page.url.rpartition("/")[2]


def look_at_one(desk: Desk) -> None:
    page = desk.page
    desk.row("/orders?page=0")
    page.get_by_role("tab", name="Response").click()
    expect(page.locator(".json")).to_contain_text("9007199254740993")
    expect(page.locator(".json mark.redacted")).to_have_count(5)
    picture(page, "exchange")
    page.get_by_role("tab", name="Redaction").click()
    panel = page.get_by_role("tabpanel")
    expect(panel).to_contain_text("response body order.customer.password")
    expect(panel).to_contain_text("this service by default takes out every header set-cookie")
    picture(page, "redaction")
    assert not [secret for secret in SECRETS if secret in page.content()]


def compare_two(desk: Desk) -> None:
    page = desk.page
    page.get_by_role("button", name="Compare").click()
    desk.row("/orders?page=1")
    page.get_by_role("tab", name="Compare with #2").click()
    expect(page.locator(".d-in").filter(has_text="POST /orders?page=1")).to_be_visible()
    expect(page.locator(".d-out").filter(has_text="POST /orders?page=0")).to_be_visible()
    picture(page, "compare")
    page.emulate_media(color_scheme="light")
    picture(page, "light")
    page.emulate_media(color_scheme="dark")
    page.get_by_role("button", name="Close").click()


def filter_live(page: Page, shop: Shop) -> None:
    page.get_by_role("textbox", name="Filter").fill("status=5xx and pth=/refunds")
    expect(page.get_by_text("'pth' is not a field; did you mean path?")).to_be_visible()
    page.get_by_role("textbox", name="Filter").fill("status=5xx and path=/refunds")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "4")
    shop.order("GET", "/refunds", x_user="bob")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "5")
    picture(page, "filter")


def export_har(page: Page, folder: Path) -> None:
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    har = json.loads(path.read_text("utf-8"))["log"]
    assert har["version"] == "1.2"
    assert [entry["response"]["status"] for entry in har["entries"]] == [502] * 4
    assert not [secret for secret in SECRETS if secret in path.read_text("utf-8")]


def test_a_viewer_looks_and_cannot_start_stop_or_delete(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("a viewer looks", "path=/cart")
    shop.order("GET", "/cart")
    shop.has(session_id, 1)
    page = desk.sign_in("viewer")
    expect(page.get_by_text("As viewer you can look; starting takes an operator.")).to_be_visible()
    card = page.get_by_role("article").filter(has_text="a viewer looks")
    expect(card.get_by_role("button")).to_have_count(0)
    desk.open("#/start")
    expect(page.get_by_text("You can't start sessions.")).to_be_visible()
    desk.open(f"#/session/{session_id}")
    desk.row("/cart")
    expect(page.get_by_role("tabpanel")).to_contain_text("/cart")
    expect(page.get_by_role("button", name=re.compile("Stop|Delete|Replay|Approve"))).to_have_count(0)
    # The page only spares the click: the service is what refuses.
    answer = page.evaluate(
        "fetch('/api/v1/sessions', {method: 'POST', body: '{}', headers: {'content-type': 'application/json',"
        " authorization: `Bearer ${sessionStorage.getItem('envoy-tap-token')}`}}).then((found) => found.status)"
    )
    assert answer == 403


def test_deleting_asks_first_and_takes_everything(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("to be deleted", "path=/nowhere")
    page = desk.sign_in("admin", f"#/session/{session_id}")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("heading", name="to be deleted")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Sessions")).to_be_visible()
    expect(page.get_by_role("article").filter(has_text="to be deleted")).to_have_count(0)
    desk.open(f"#/session/{session_id}")
    expect(page.get_by_text("There is no such session.")).to_be_visible()


def test_a_view_is_a_link_for_a_colleague(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("a link", "all")
    place_orders(shop)
    shop.has(session_id, 15)
    view = "filter=method%3DGET&sort=-status&pin=2&seq=4&tab=response"
    page = desk.sign_in("viewer", f"#/session/{session_id}?{view}")
    expect(page.get_by_role("textbox", name="Filter")).to_have_value("method=GET")
    expect(page.get_by_role("grid")).to_have_attribute("aria-rowcount", "13")
    expect(page.locator(".grid-pins .grid-row")).to_contain_text("/orders?page=0")
    expect(page.get_by_role("columnheader", name="Status")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("tab", name="Response")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("tabpanel")).to_contain_text("payment provider did not answer")
    page.get_by_role("columnheader", name="Status").get_by_role("button").click()
    expect(page).to_have_url(re.compile(r"^(?!.*sort=).*seq=4"))


def test_everything_is_done_by_keys(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("by keys", "all")
    place_orders(shop)
    shop.has(session_id, 15)
    page = desk.sign_in("operator", f"#/session/{session_id}")
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "16")
    page.keyboard.press("/")
    expect(page.get_by_role("textbox", name="Filter")).to_be_focused()
    page.keyboard.type("path=/refunds")
    expect(grid).to_have_attribute("aria-rowcount", "4")
    page.keyboard.press("ArrowDown")
    expect(grid).to_be_focused()
    for key in ("Home", "j", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".pane-head")).to_contain_text("#9")
    page.keyboard.press("j")
    expect(page.locator(".pane-head")).to_contain_text("#14")
    before = page.get_by_role("button", name="Previous exchange")
    before.press("Enter")
    expect(page.locator(".pane-head")).to_contain_text("#9")
    expect(before).to_be_focused()
    page.get_by_role("grid").focus()
    page.keyboard.press("j")
    page.keyboard.press("p")
    expect(page.locator(".grid-pins .grid-row")).to_have_count(1)
    page.keyboard.press("x")
    expect(page.locator(".grid-rows [aria-selected=true]")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator(".pane")).to_be_hidden()
    page.keyboard.press("Space")
    shop.order("GET", "/refunds")
    expect(page.get_by_text("1 more")).to_be_visible()
    expect(grid).to_have_attribute("aria-rowcount", "4")
    page.keyboard.press("Space")
    expect(grid).to_have_attribute("aria-rowcount", "5")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("grpc.status=UNAVAILABLE")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_a_request_is_sent_again_to_an_allowed_target_after_its_doubts(desk: Desk, shop: Shop) -> None:
    session_id = shop.session("again", "path=/orders or path=/refunds")
    shop.order("GET", "/refunds")
    shop.order("POST", "/orders", BODY, content_type="application/json")
    shop.has(session_id, 2)
    page = desk.sign_in("operator", f"#/session/{session_id}?seq=1")
    page.get_by_role("button", name="Replay").click()
    page.get_by_label("Target").fill("http://127.0.0.1:9")
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_role("alert")).to_contain_text(f"it takes {shop.upstream}")
    page.get_by_label("Target").fill(shop.upstream)
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_text("It answered 502")).to_be_visible()
    expect(page.get_by_text("502 was captured. The body is the same.")).to_be_visible()
    page.keyboard.press("Escape")
    desk.row("/orders")
    page.get_by_role("button", name="Replay").click()
    expect(page.get_by_text("POST may change things where it is sent.")).to_be_visible()
    page.get_by_label("Target").fill(shop.upstream)
    page.get_by_role("button", name="Send it").click()
    expect(page.get_by_text("what was redacted is sent as the placeholder: the body")).to_be_visible()
    page.get_by_role("button", name="Send it even so").click()
    expect(page.get_by_text("It answered 201")).to_be_visible()


def test_another_person_approves_where_the_rule_asks_for_it(browser: BrowserContext, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {team: shop, paths: [/orders/**], approval: true}\n", "utf-8")
    with Processes(tmp_path) as processes:
        console = console_of(start_tap(processes, "--rules", str(rules)))
        asks, agrees = (Desk(browser.new_page(), console) for _ in range(2))
        page = asks.sign_in("operator", "#/start")
        page.get_by_label("Why").fill("who orders twice?")
        page.get_by_role("button", name="Start capturing").click()
        expect(page.get_by_text("It waits for approval.")).to_be_visible()
        approve = page.get_by_role("button", name="Approve")
        expect(approve).to_be_disabled()
        # Whoever has another name by now is not another person, as far as the service can tell.
        page.route(
            "**/api/v1/whoami", lambda route: route.fulfill(json={**route.fetch().json(), "name": "otho"})
        )
        page.reload()
        expect(page.get_by_text("otho")).to_be_visible()
        expect(approve).to_be_disabled()
        page.get_by_role("link", name="To all sessions").click()
        expect(approve).to_be_disabled()
        page.go_back()
        other = agrees.sign_in("approver")
        card = other.get_by_role("article").filter(has_text="who orders twice?")
        expect(card).to_contain_text("waiting")
        picture(other, "approval")
        card.get_by_role("button", name="Approve").click()
        expect(card).to_contain_text("otto of shop, approved by olga")
        expect(page.get_by_text("Waiting for the first request.")).to_be_visible()
        for desk in (asks, agrees):
            desk.page.close()
            assert desk.wrongs == []
