"""The fuzz target of the handler, for a few seconds: `make fuzz SECONDS=600` runs it longer."""

import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from envoy_sidecar.pb import authz_pb2, common_pb2
from tests.authz.test_traps import HOSTILE, message
from tests.authz.tokens.certificates import certificate, pem
from tests.authz.tokens.minting import token

ROOT = Path(__file__).parents[2]
SECONDS = 6


def seeds() -> list[authz_pb2.CheckRequest]:
    """Return requests that reach far: whole ones, with tokens, bodies, certificates, odd paths, and hostile ones."""
    made = [message(path) for path in ("/", "/admin", "//admin;x", "/x/..%2fadmin", "/a/x/b?t=a.b.c#f")]
    json_body = message("/p/x", "POST", content_type="application/json", x_team="a,b")
    json_body.attributes.request.http.raw_body = b'{"a": {"b": [1, 2.5, null, "\\u00e9"]}, "x": 1}'
    form = message("/p", "POST", content_type="application/x-www-form-urlencoded", cookie="c=a.b.c; d=e")
    form.attributes.request.http.body = "f=1&g=%32"
    user = message("/p/1", authorization=f"Bearer {token()}", x_forwarded_for="10.0.0.1, 192.0.2.1")
    workload = message("/p/2", x_forwarded_client_cert='By="a,b";URI=spiffe://td/ns/shop/sa/web')
    shown, _key = certificate()
    workload.attributes.source.certificate = quote(pem(shown))
    workload.attributes.source.principal = "spiffe://td/edge"
    raw = message()
    lines = raw.attributes.request.http.header_map.headers
    lines.append(common_pb2.HeaderValue(key="X-Team", raw_value=b"\xff,b"))
    for one in (json_body, form, user, workload, raw):
        one.attributes.request.http.host = "shop.example:443"
        one.attributes.destination.address.socket_address.port_value = 443
        one.attributes.context_extensions["namespace"] = "shop"
        one.attributes.tls_session.sni = "a"
    small = [one for one in HOSTILE.values() if one.ByteSize() < 1 << 14]
    return [*made, json_body, form, user, workload, raw, *small]


def test_whatever_bytes_come_in_a_decision_comes_out(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, one in enumerate(seeds()):
        (corpus / f"seed-{number}").write_bytes(one.SerializeToString())
    options = [f"-max_total_time={SECONDS}", "-max_len=16384", "-timeout=5", f"-artifact_prefix={tmp_path}/"]
    argv = [sys.executable, "-m", "tests.fuzz.authz_check", str(corpus), *options]
    result = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    assert "Done" in result.stderr
