"""A curl line is the request that curl sends."""

import shlex
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from envoy_authz.commands.curl import request_from_curl
from envoy_authz.core.request import Request

CASES = [
    ("curl https://shop.example/a", Request("GET", "/a", host="shop.example", scheme="https")),
    ("curl shop.example", Request("GET", "/", host="shop.example", scheme="http")),
    ("shop.example:8080?x=1#top", Request("GET", "/?x=1", host="shop.example:8080", scheme="http")),
    ("curl -sSXDELETE http://h/a", Request("DELETE", "/a", host="h", scheme="http")),
    ("curl -I http://h/a", Request("HEAD", "/a", host="h", scheme="http")),
    ("curl http://ann@h/a/../b/./c", Request("GET", "/b/c", host="h", scheme="http")),
    ("curl --path-as-is http://h/a/../b", Request("GET", "/a/../b", host="h", scheme="http")),
    ("curl -o out -w x --max-time 3 http://h/", Request("GET", "/", host="h", scheme="http")),
    ("curl -H 'Host: other' http://h/", Request("GET", "/", host="other", scheme="http")),
    ("curl -G -d a=b http://h/x?y=z", Request("GET", "/x?y=z&a=b", host="h", scheme="http")),
    ("curl \\\n  http://h/", Request("GET", "/", host="h", scheme="http")),
]
DEFAULT = {"user-agent": "curl", "accept": "*/*"}


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_a_line_is_its_request(line: str, expected: Request) -> None:
    found = request_from_curl(line)
    assert found.request_headers == DEFAULT
    assert (found.method, found.path, found.host, found.scheme, found.body) == (
        expected.method,
        expected.path,
        expected.host,
        expected.scheme,
        b"",
    )


HEADERS = [
    ("-H 'X-Team: red' -H 'x-team:blue'", {"x-team": "red,blue"}),
    ("-H 'Accept:'", {"accept": None}),
    ("-u ann:secret", {"authorization": "Basic YW5uOnNlY3JldA=="}),
    ("--oauth2-bearer abc", {"authorization": "Bearer abc"}),
    ("-A me -e http://r/ -b a=b", {"user-agent": "me", "referer": "http://r/", "cookie": "a=b"}),
    ("-d a=b", {"content-type": "application/x-www-form-urlencoded"}),
    ("--json '{}'", {"content-type": "application/json"}),
    ("-H 'Content-Type: text/plain' -d x", {"content-type": "text/plain"}),
]


@pytest.mark.parametrize(("options", "headers"), HEADERS)
def test_options_are_headers(options: str, headers: dict[str, str | None]) -> None:
    found = request_from_curl(f"curl {options} http://h/").request_headers
    assert {name: found.get(name) for name in headers} == headers


BODIES = [
    ("-d a=b -d c=d", b"a=b&c=d"),
    ("--data-urlencode 'a=b c&d'", b"a=b+c%26d"),
    ("--data-raw @x", b"@x"),
    ("--json '{\"a\": 1}'", b'{"a": 1}'),
]


@pytest.mark.parametrize(("options", "body"), BODIES)
def test_data_is_the_body_of_a_post(options: str, body: bytes) -> None:
    found = request_from_curl(f"curl http://h/ {options}")
    assert (found.method, found.body) == ("POST", body)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("curl", "0 URLs"),
        ("curl http://a http://b", "2 URLs"),
        ("curl ftp://h/", "is no HTTP URL"),
        ("curl http:///x", "has no host"),
        ("curl -d @file http://h/", "files are not read"),
        ("curl --form a=b http://h/", "--form of curl is not known here"),
        ("curl -H http://h/", "URL"),
        ("curl -H nonsense http://h/", "'nonsense' is no header"),
        ("curl http://h/ -X", "-X of curl has no value"),
        ("curl 'http://h/", "this is no command line"),
    ],
)
def test_what_is_no_line_is_said(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        request_from_curl(line)


class _Echo(BaseHTTPRequestHandler):
    seen: list[Request] = []  # noqa: RUF012 - of the one server

    def handle_any(self) -> None:
        size = int(self.headers.get("content-length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append(
            Request(
                self.command,
                self.path,
                host=headers.pop("host"),
                body=self.rfile.read(size),
                request_headers=headers,
            )
        )
        self.send_response(204)
        self.end_headers()

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 - the library's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Echo) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.parametrize(
    "options",
    [
        ["/a/../b?x=1"],
        ["--path-as-is", "/a/../b"],
        ["-X", "PUT", "/a", "-H", "X-A: b", "-H", "Accept:"],
        ["/a", "-d", "x=1", "-d", "y=2"],
        ["/a", "--data-urlencode", "x=a b"],
        ["-G", "/a?z=1", "-d", "x=1"],
        ["/a", "-u", "ann:b", "-b", "c=d", "-A", "me"],
        ["/a/./b//c/"],
    ],
)
def test_it_is_what_curl_itself_sends(server: str, options: list[str], tmp_path: Path) -> None:
    words = [f"http://{server}{one}" if one.startswith("/") else one for one in options]
    subprocess.run(["curl", "-sS", "-o", str(tmp_path / "out"), *words], check=True, timeout=30)
    sent, read = _Echo.seen.pop(), request_from_curl(f"curl {shlex.join(words)}")
    assert (read.method, read.path, read.host, read.body) == (sent.method, sent.path, sent.host, sent.body)
    kept = {name: value for name, value in sent.request_headers.items() if name != "content-length"}
    if kept["user-agent"].startswith("curl/"):
        kept["user-agent"] = "curl"
    assert read.request_headers == kept
