"""What a body can cost a worker of a real Envoy is bounded; what would cost more does not leave the proxy."""

import json
import time
from pathlib import Path

from envoy_tap.core.redaction.redactor import TOO_MUCH
from envoy_tap.core.session import Limits
from tests.tap.building import session
from tests.tap.proxied import tapped

SECRET = "s3cr3t"  # noqa: S105 - it is to be seen nowhere


async def test_a_body_that_would_hold_the_worker_up_is_withheld_and_no_other(tmp_path: Path) -> None:
    async with tapped(tmp_path) as at:
        limits = Limits(body_bytes=1 << 20)
        at.slot.set(session("tap-1", "all", now_s=time.time(), for_s=600, limits=limits))
        assert await at.settled() == ""
        is_json = "content-type: application/json"
        ordinary = json.dumps([{"id": number, "pin": None, "password": SECRET} for number in range(1300)])
        assert len(ordinary) > 60_000
        head = f"HTTP/1.1 200 OK\r\n{is_json}\r\ncontent-length: {len(ordinary)}\r\n\r\n"
        at.upstream.answer = (head + ordinary).encode()
        hostile = f'[{{"password": "{SECRET}"}},'.encode() + b"1 " * (1 << 18)
        await at.ask("POST /orders HTTP/1.1", is_json, body=hostile)
        found = await at.sink.next()
        assert found.request is not None
        assert found.response is not None
        assert (found.request.first(":path"), found.request.body) == (b"/orders", TOO_MUCH)
        assert found.response.body.decode() == ordinary.replace(SECRET, "[redacted]")
        assert SECRET.encode() not in b"".join(at.payloads)
