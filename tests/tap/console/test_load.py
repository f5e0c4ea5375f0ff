"""A list of fifty thousand that goes on growing: what is seen stays smooth. Frame times are printed, not judged."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import pytest
from envoy_data_plane.envoy.data.tap.v3 import Body, HttpBufferedTrace, HttpBufferedTraceMessage, TraceWrapper
from envoy_data_plane.envoy.service.tap.v3 import StreamTapsRequest
from playwright.sync_api import BrowserContext, Page, expect

from envoy_demo.processes import Processes
from envoy_demo.services import Service
from envoy_tap.collector import SERVICE_NAME
from envoy_tap.core.exchange import Exchange, Message, Node
from envoy_tap.core.session import Limits
from envoy_tap.storage.open import opened
from envoy_tap.storage.snapshot import Snapshot
from tests.tap.building import IDENTIFIER, header_map, session
from tests.tap.console.browser import Desk
from tests.tap.console.shop import console_of, start_tap

STORED = 50_000
LIVE = 1_500
RATE_PER_S = 500
SESSION = "0123456789ab"
# A page that stands still for this long is broken, on whatever machine.
BROKEN_MS = 5_000
NODES = tuple(Node(f"edge-{number}", "edge") for number in range(4))
# Scrolls *steps* times, by turns a little and a lot, and returns how long each frame took.
SCROLL = """async (steps) => {
  const grid = document.querySelector(".grid");
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  let last = await frame();
  for (let step = 0; step < steps; step += 1) {
    grid.scrollTop = step % 10 ? grid.scrollTop + 130 : (grid.scrollHeight * ((step * 7919) % 100)) / 100;
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
}"""
WATCH = """async (frames) => {
  const frame = () => new Promise(requestAnimationFrame);
  const times = [];
  let last = await frame();
  while (times.length < frames) {
    const now = await frame();
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def request(number: int) -> tuple[tuple[str, bytes], ...]:
    path = f"/orders/{number}" if number % 3 else f"/cart?page={number}"
    method = b"POST" if number % 4 == 0 else b"GET"
    return (
        (":method", method),
        (":scheme", b"https"),
        (":authority", b"shop.example"),
        (":path", path.encode()),
    )


def response(number: int) -> tuple[tuple[str, bytes], ...]:
    status = (200, 200, 201, 304, 404, 502)[number % 6]
    return ((":status", str(status).encode()), ("content-type", b"application/json"))


def exchanges() -> Iterator[Exchange]:
    began_s = time.time() - STORED / 100
    body = b'{"total": 12.5}'
    for number in range(1, STORED + 1):
        at_s = began_s + number / 100
        yield Exchange(
            SESSION,
            NODES[number % 4],
            number,
            Message(request(number)),
            Message(response(number), body),
            at_s,
            at_s + (number % 90) / 1000,
        )


@dataclass(frozen=True)
class Loaded:
    """A service with a session that is large already."""

    tap: Service

    def send(self, count: int) -> None:
        """Send *count* more, so many a second, as a proxy does."""

        def messages() -> Iterator[bytes]:
            began_s = time.monotonic()
            pause = threading.Event()
            for number in range(count):
                trace = HttpBufferedTrace(
                    request=HttpBufferedTraceMessage(headers=header_map(request(number)).headers),
                    response=HttpBufferedTraceMessage(
                        headers=header_map(response(number)).headers, body=Body(as_bytes=b'{"live": true}')
                    ),
                )
                identifier = replace(IDENTIFIER, tap_id=SESSION) if number == 0 else None
                pause.wait(max(0.0, began_s + number / RATE_PER_S - time.monotonic()))
                yield bytes(
                    StreamTapsRequest(
                        identifier=identifier, trace_id=number, trace=TraceWrapper(http_buffered_trace=trace)
                    )
                )

        with grpc.insecure_channel(f"127.0.0.1:{self.tap.port}") as channel:
            stream: Any = channel.stream_stream(f"/{SERVICE_NAME}/StreamTaps")
            list(stream(messages()))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    folder = Path(tmp_path_factory.mktemp("loaded"))
    limits = Limits(exchanges=100_000, bytes=1 << 30, rate_per_s=1000)
    began = session(SESSION, now_s=time.time(), limits=limits)
    storage = opened(folder / "data", None)
    counts = {"seen": STORED, "captured": STORED, "bytes": STORED * 200}
    storage.store.create(Snapshot(began, counts=counts))
    storage.store.append(SESSION, list(exchanges()))
    storage.close()
    with Processes(folder) as processes:
        yield Loaded(start_tap(processes))


@pytest.fixture
def desk(loaded: Loaded, browser: BrowserContext) -> Iterator[Desk]:
    desk = Desk(browser.new_page(), console_of(loaded.tap))
    yield desk
    desk.page.close()
    assert desk.wrongs == []


def told(what: str, times: list[float]) -> None:
    ordered = sorted(times)
    at = {
        name: ordered[int(len(ordered) * part)] for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    shown = ", ".join(f"{name} {value:.1f} ms" for name, value in {**at, "most": ordered[-1]}.items())
    print(f"\n{what}: {len(times)} frames, {shown}")  # noqa: T201 - a measurement is for who reads the log
    assert median(times) < BROKEN_MS


def shown_rows(page: Page) -> int:
    return page.locator(".grid-rows .grid-row:not([hidden])").count()


@pytest.mark.timeout(300)
def test_fifty_thousand_rows_scroll_sort_and_filter_and_five_hundred_a_second_come_in(
    desk: Desk, loaded: Loaded
) -> None:
    page = desk.sign_in("operator", f"#/session/{SESSION}")
    grid = page.get_by_role("grid")
    began_s = time.monotonic()
    expect(grid).to_have_attribute("aria-rowcount", str(STORED + 1), timeout=60_000)
    print(f"\n{STORED} rows are there after {time.monotonic() - began_s:.1f} s")  # noqa: T201
    assert shown_rows(page) < 100
    told("scrolling through them", page.evaluate(SCROLL, 120))

    page.get_by_role("columnheader", name="Duration").get_by_role("button").click()
    expect(page.locator(".grid-rows")).to_contain_text("0.00 ms")
    page.get_by_role("button", name="Follow").click()
    sending = threading.Thread(target=loaded.send, args=(LIVE,))
    sending.start()
    told("following 500 a second, sorted", page.evaluate(WATCH, 60))
    page.get_by_role("columnheader", name="#").get_by_role("button").click()
    page.get_by_role("button", name="Follow").click()
    told("following 500 a second", page.evaluate(WATCH, 60))
    told("scrolling while 500 a second come", page.evaluate(SCROLL, 60))
    sending.join()
    expect(grid).to_have_attribute("aria-rowcount", str(STORED + LIVE + 1), timeout=30_000)

    page.get_by_role("textbox", name="Filter").fill("status=404 and method=POST")
    found = [
        number for number in (*range(1, STORED + 1), *range(LIVE)) if number % 6 == 4 and number % 4 == 0
    ]
    expect(grid).to_have_attribute("aria-rowcount", str(len(found) + 1), timeout=60_000)
    assert shown_rows(page) < 100
