"""A small upstream that answers with what reached it: `python -m envoy_demo.upstream PORT`."""

import sys
from dataclasses import dataclass
from itertools import count

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from envoy_demo.client import answers_ok
from envoy_demo.ports import LOOPBACK, free_port
from envoy_demo.processes import Process, Processes

_READY_PATH = "/.ready"
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
# An echo of a secret would make it content, where nothing that guards headers can tell it from any other.
_SECRET_HEADERS = frozenset({"authorization", "cookie"})


@dataclass(frozen=True, slots=True)
class Upstream:
    """A running upstream and its loopback port."""

    process: Process
    port: int

    def wait_ready(self) -> None:
        """Return once it answers; raises ProcessFailedError if it does not."""
        self.process.until(lambda: answers_ok(self.port, _READY_PATH), "readiness")


def start_upstream(processes: Processes) -> Upstream:
    """Start the upstream as a process of its own, on a free port; it is not ready yet."""
    port = free_port()
    return Upstream(
        processes.start("upstream", [sys.executable, "-m", "envoy_demo.upstream", str(port)]), port
    )


def application() -> Starlette:
    """Return the application: JSON with `method`, `path` (with query), `headers`, `body` and `served`.

    `served` counts the requests that reached this upstream, from 1: what did not count did not arrive.
    """
    served = count(1)

    async def echo(request: Request) -> Response:
        body = (await request.body()).decode("utf-8", errors="replace")
        query = f"?{request.url.query}" if request.url.query else ""
        return JSONResponse(
            {
                "method": request.method,
                "path": request.url.path + query,
                "headers": {
                    name: value for name, value in request.headers.items() if name not in _SECRET_HEADERS
                },
                "not_echoed": [
                    f"{name} ({len(value)} characters)"
                    for name, value in request.headers.items()
                    if name in _SECRET_HEADERS
                ],
                "body": body,
                "served": next(served),
            }
        )

    async def ready(_request: Request) -> Response:
        return Response("ready\n", media_type="text/plain")

    return Starlette(routes=[Route(_READY_PATH, ready), Route("/{path:path}", echo, methods=_METHODS)])


if __name__ == "__main__":
    uvicorn.run(application(), host=LOOPBACK, port=int(sys.argv[1]), log_level="warning", access_log=False)
