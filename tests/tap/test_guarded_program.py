"""The service as a process with tokens, JWTs and rules: who gets in, a change of the files, and what is on record."""

import hashlib
import json
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from jwt.algorithms import ECAlgorithm

from envoy_demo.client import Request, Response, send
from envoy_demo.processes import Processes
from envoy_demo.services import Service, start_tap
from envoy_sidecar.config.findings import Finding
from envoy_tap.access import jwks
from envoy_tap.audit import AUDIT_KEY
from envoy_tap.audit.head import Head
from envoy_tap.audit.verify import verified
from envoy_tap.storage.keys import read_keys

SESSIONS = "/api/v1/sessions"
ISSUER = "https://login.example.com/"
KEY = generate_private_key(SECP256R1())
JWK = {**json.loads(ECAlgorithm.to_jwk(KEY.public_key())), "kid": "one"}
RULES = "rules: [{team: payments, clusters: [payments-*], approval: true}]"


class _Keys(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = json.dumps({"keys": [JWK]}).encode() if self.path == "/keys" else b" " * (jwks.MAX_BYTES + 1)
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@dataclass(frozen=True)
class Guarded:
    tap: Service
    data: Path
    rules: Path

    def ask(self, method: str, path: str, token: str = "", body: Any = None) -> Response:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        content = b"" if body is None else json.dumps(body).encode()
        if content:
            headers["content-type"] = "application/json"
        return send(self.tap.admin_port, Request(method, path, headers, content))

    def verified(self, end: str | None = None) -> tuple[list[str], Head]:
        keys = read_keys(self.data / "tap.key", make=False).all_derived(AUDIT_KEY)
        found = list(verified(self.data / "audit.jsonl", self.data / "audit.head", keys, end))
        (head,) = (each for each in found if isinstance(each, Head))
        return [each.message for each in found if isinstance(each, Finding)], head


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, issuer: str) -> Iterator[Guarded]:
    with Processes(tmp_path_factory.mktemp("guarded")) as processes:
        folder = processes.folder
        people = [("olga", "operator"), ("otto", "operator"), ("adam", "admin")]
        (folder / "tokens.yaml").write_text(
            "".join(
                f"- {{name: {name}, role: {role}, teams: [payments], "
                f"sha256: {hashlib.sha256(name.encode() * 4).hexdigest()}}}\n"
                for name, role in people
            ),
            "utf-8",
        )
        (folder / "jwt.yaml").write_text(
            f"issuers: [{{issuer: {ISSUER!r}, audiences: [envoy-tap], jwks: '{issuer}/keys', algorithms: [ES256], "
            "name: email, role: {claim: groups, operator: [sre]}, teams: teams}]",
            "utf-8",
        )
        rules = folder / "rules.yaml"
        rules.write_text(RULES, "utf-8")
        options = ["--drain-delay", "0"]
        for name in ("tokens", "jwt", "rules"):
            options += [f"--{name}", str(folder / f"{name}.yaml")]
        tap = start_tap(processes, folder / "data", options)
        tap.wait_ready()
        yield Guarded(tap, folder / "data", rules)


def by_issuer(**claims: Any) -> str:
    known = {
        "iss": ISSUER,
        "aud": "envoy-tap",
        "sub": "007",
        "email": "jane",
        "groups": ["sre"],
        "exp": 4_000_000_000,
    }
    return jwt.encode({**known, **claims}, KEY, "ES256", headers={"kid": "one"})


def test_a_session_waits_for_another_person_whoever_vouches_for_them(guarded: Guarded) -> None:
    assert guarded.ask("GET", SESSIONS).status == 401
    assert guarded.ask("GET", SESSIONS, "wrong").status == 401
    assert guarded.ask("GET", SESSIONS, by_issuer(aud="another")).status == 401
    started = guarded.ask("POST", SESSIONS, "olga" * 4, {"why": "INC-1"})
    assert (started.status, started.json()["state"]) == (201, "waiting")
    one = f"{SESSIONS}/{started.json()['id']}"
    assert guarded.ask("POST", f"{one}/approve", "olga" * 4).status == 403
    assert guarded.ask("GET", one, by_issuer()).status == 404, "of no team"
    approved = guarded.ask("POST", f"{one}/approve", by_issuer(teams=["payments"]))
    assert (approved.json()["state"], approved.json()["approved_by"]) == ("active", "jane")
    assert guarded.ask("POST", f"{one}/stop", "otto" * 4).json()["state"] == "stopped"


def test_a_name_makes_nobody_another_person_nor_the_same(guarded: Guarded) -> None:
    started = guarded.ask("POST", SESSIONS, by_issuer(teams=["payments"]), {"why": "INC-2"})
    one = f"{SESSIONS}/{started.json()['id']}"
    assert started.json()["who"] == "jane"

    def approved(**claims: Any) -> int:
        shown = guarded.ask("GET", one, by_issuer(**claims))
        status = guarded.ask("POST", f"{one}/approve", by_issuer(**claims)).status
        assert (status == 200) is ("approve" in shown.json()["may"])
        return status

    assert approved(email="joan", teams=["payments"]) == 403, "the same subject under another name"
    assert approved(sub="008", teams=["payments"]) == 403, "the same name, which nobody can tell apart"
    assert guarded.ask("GET", one, by_issuer(email="joan")).status == 200, "her own"
    assert guarded.ask("GET", one, by_issuer(sub="008")).status == 404, "somebody else's"
    assert approved(sub="008", email="june", teams=["payments"]) == 200
    assert guarded.ask("POST", f"{one}/stop", by_issuer()).json()["state"] == "stopped"


def test_a_change_of_the_rules_counts_and_a_broken_one_is_said(guarded: Guarded) -> None:
    def state() -> str:
        answer = guarded.ask("POST", SESSIONS, "olga" * 4, {"why": "x"})
        guarded.ask("POST", f"{SESSIONS}/{answer.json().get('id')}/stop", "olga" * 4)
        return str(answer.json().get("state", answer.json().get("error", {}).get("message")))

    assert state() == "waiting"
    guarded.rules.write_text("rules: [{team: payments}]", "utf-8")
    guarded.tap.process.until(lambda: state() == "active" or None, "the new rules")
    guarded.rules.write_text("rules: [{team: 1}]", "utf-8")

    def said() -> bool | None:
        text = send(guarded.tap.admin_port, Request("GET", "/readyz")).text
        return "rules.yaml:1:16" in text or None

    guarded.tap.process.until(said, "what is wrong")
    assert state() == "active", "the ones before count on"
    guarded.rules.write_text(RULES, "utf-8")
    guarded.tap.process.until(lambda: state() == "waiting" or None, "the old rules")


def test_hostile_requests_are_refused_and_nothing_of_them_is_kept(guarded: Guarded) -> None:
    adam = "adam" * 4
    for method, path, body, status in [
        ("POST", SESSIONS, {"why": "x" * 70_000}, 413),
        ("POST", SESSIONS, {"why": "a\r\nset-cookie: x"}, 422),
        ("GET", f"{SESSIONS}/..%2f..%2f..%2fetc%2fpasswd", None, 404),
        ("GET", f"{SESSIONS}/%2e%2e/tap.key/exchanges", None, 404),
        ("GET", f"{SESSIONS}/0123456789ab%0d%0aset-cookie:x/export", None, 404),
        ("GET", f"{SESSIONS}?" + "x" * 10_000, None, 200),
        ("DELETE", f"{SESSIONS}/0123456789ab", None, 404),
    ]:
        answer = guarded.ask(method, path, adam, body)
        assert answer.status == status, (path, answer.text)
        assert "set-cookie" not in answer.headers
    session_id = guarded.ask("POST", SESSIONS, adam, {"why": 'a"; filename=b'}).json()["id"]
    for form in ("har%0d%0aset-cookie:x", "../../har", "har"):
        answer = guarded.ask("GET", f"{SESSIONS}/{session_id}/export?format={form}", adam)
        assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"] == f'attachment; filename="tap-{session_id}.har"'
    logs = guarded.tap.process.log.read_text("utf-8")
    assert adam not in logs
    assert (guarded.data / "audit.jsonl").read_text("utf-8").count(adam) == 0


def test_the_log_has_it_all_holds_after_kill_9_and_shows_a_change(guarded: Guarded) -> None:
    entries = guarded.ask("GET", "/api/v1/audit?limit=1000", "adam" * 4).json()["entries"]
    told = {(each["action"], each["outcome"]) for each in entries}
    assert told >= {
        ("start", "ok"),
        ("approve", "ok"),
        ("approve", "denied"),
        ("view", "denied"),
        ("stop", "ok"),
    }
    findings, known = guarded.verified()
    assert findings == [], "while it runs"
    guarded.tap.process.signal(signal.SIGKILL)
    guarded.tap.process.wait(30)
    assert guarded.verified(known.hash) == ([], known)
    log = guarded.data / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"who":"olga"', b'"who":"adam"', 1))
    (found,), _ = guarded.verified()
    assert re.fullmatch("the hash of entry [0-9]+ does not hold", found)


def test_what_is_too_long_is_no_set_of_keys(issuer: str) -> None:
    assert list(jwks.parsed(jwks.fetched(f"{issuer}/keys"))) == ["one"]
    with pytest.raises(ValueError, match="longer than"):
        jwks.fetched(f"{issuer}/long")
