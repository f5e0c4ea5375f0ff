"""The driver ext_proc as an operator has it: what leaves the proxy with secrets is stored and shown without."""

import json
from pathlib import Path

import httpx

from envoy_demo import configs
from envoy_demo.client import Request, send
from envoy_demo.envoy import start_envoy
from envoy_demo.ports import LOOPBACK
from envoy_demo.processes import Processes
from envoy_demo.services import start_tap
from envoy_demo.upstream import Upstream
from tests.e2e.edges import AT_ONCE

SECRETS = ("planted-in-a-header", "planted-in-a-query", "4111-1111-1111-1111")


def test_secrets_are_in_no_file_no_log_and_no_answer(processes: Processes, upstream: Upstream) -> None:
    header, query, card = SECRETS
    tap = start_tap(processes, processes.folder / "data", AT_ONCE)
    tap.wait_ready()
    config = configs.on_ports(
        configs.load("tap.yaml"), {"upstream": [upstream.port], "envoy_tap": [tap.port]}
    )
    config["node"]["metadata"] = {"envoy_tap": {"driver": "ext_proc"}}
    envoy = start_envoy(processes, config)
    api = f"http://{LOOPBACK}:{tap.admin_port}/api/v1"
    asked = {"why": "a test", "predicate": "path^=/orders and status=200"}
    session = httpx.post(f"{api}/sessions", json=asked).raise_for_status().json()["id"]

    def armed() -> bool | None:
        (node,) = httpx.get(f"{api}/nodes").json()["nodes"] or [None]
        return True if node and node["sessions"] and node["acked_version"] == node["sent_version"] else None

    tap.process.until(armed, "the proxy that captures")
    body = json.dumps({"note": card, "tea": "green"}).encode()
    headers = {"authorization": f"Bearer {header}", "content-type": "application/json"}
    assert send(envoy.port, Request("POST", f"/orders/1?token={query}", headers, body)).status == 200
    url = f"{api}/sessions/{session}/exchanges"
    tap.process.until(lambda: httpx.get(url).json()["exchanges"] or None, "an exchange")
    shown = httpx.get(f"{url}/1").json()["exchange"]
    assert "green" in shown["request"]["body"]
    assert shown["facts"]["cluster"] == "upstream"
    assert shown["facts"]["upstream"] == f"{LOOPBACK}:{upstream.port}"
    written = [path for path in Path(processes.folder).rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret not in json.dumps(shown)
        assert [str(path) for path in written if secret.encode() in path.read_bytes()] == []
