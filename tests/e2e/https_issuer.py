"""An issuer over HTTPS in a thread of the test: keys that the test changes, introspection, and times when it is down."""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from envoy_demo.ports import free_port
from tests.authz.tokens.certificates import server_tls


class HttpsIssuer:
    """Answers `/jwks` with `keys`, and `/introspect` with what `opaque` has for a token; trusted by `authority`."""

    def __init__(self, folder: Path) -> None:
        self._tls, _client = server_tls(folder)
        self.authority = folder / "cert.pem"
        self.port = free_port()
        self.keys = '{"keys": []}'
        self.opaque: dict[str, dict[str, object]] = {}
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def start(self) -> None:
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(issuer.keys)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                (token,) = parse_qs(body)["token"]
                self._answer(json.dumps(issuer.opaque.get(token, {"active": False})))

            def _answer(self, text: str) -> None:
                self.send_response(200)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            allow_reuse_address = True
            daemon_threads = True

            def handle_error(self, *_arguments: object) -> None:
                """A connection that breaks is the client's affair."""

        self._server = Server(("127.0.0.1", self.port), Handler)
        self._server.socket = self._tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


def client_tls(authority: Path, files: tuple[Path, Path] | None) -> ssl.SSLContext:
    """Return a client that trusts *authority* for whatever name, and shows the certificate in *files*."""
    context = ssl.create_default_context(cafile=str(authority))
    context.check_hostname = False
    if files is not None:
        context.load_cert_chain(*files)
    return context
