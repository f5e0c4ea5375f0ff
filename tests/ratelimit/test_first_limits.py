"""A service whose limits come from a control plane serves nobody before it has them."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from envoy_demo.client import answers_ok
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Processes
from envoy_demo.services import Service
from tests.ratelimit.ads import ads_server, limits
from tests.ratelimit.asking import Admin


async def test_until_the_first_limits_are_there_nobody_is_served_and_it_is_not_ready(tmp_path: Path) -> None:
    listen, port, plane = free_port(), free_port(), free_port()
    argv = [sys.executable, "-m", "envoy_ratelimit", "serve", "--config-xds", f"{LOOPBACK}:{plane}"]
    argv += ["--listen", f"{LOOPBACK}:{listen}", "--admin", f"{LOOPBACK}:{port}"]
    with Processes(tmp_path) as processes:
        process = processes.start("ratelimit", argv)
        admin = Admin(Service(process, listen, port))
        process.until(lambda: answers_ok(port, "/livez"), "the admin server")
        process.until(lambda: "xDS" in admin.get("/readyz").text or None, "the reason")
        ready = admin.get("/readyz")
        assert ready.status_code == 503
        assert ready.text.startswith("not ready\nstarting\nno limits came over xDS yet\n")
        assert admin.get("/healthcheck").status_code == 500
        assert admin.ask("edge", {"user": "ann"}).status_code == 503
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, listen)).close()
        async with ads_server(plane) as ads:
            ads.publish(limits("edge", 1))
            await asyncio.to_thread(process.until, lambda: answers_ok(port, "/readyz"), "readiness")
            answers = [admin.ask("edge", {"user": "ann"}).status_code for _ in range(2)]
        assert answers == [200, 429]
        socket.create_connection((LOOPBACK, listen)).close()
        assert admin.get("/healthcheck").status_code == 200
        admin.close()
