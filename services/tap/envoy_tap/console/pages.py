"""The console's files: read once, and served as they are under a policy that lets nothing else run.

The page asks the API for everything else, with a bearer token in a header that only it can set: there is no cookie, so
no other page can act in an operator's name.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

FOLDER = "/console"
PAGE = "index.html"

# Nothing from elsewhere, nothing inline, nothing made of text: not even our own code can turn a captured text into
# markup or script (`trusted-types 'none'`). `blob:` is for captured images, whose type is sniffed from their bytes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    media_type: str
    etag: str

    def answer(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def routes() -> Sequence[BaseRoute]:
    """Return the page at `/` and what it loads below `/console/`; only what was found at the start is ever served."""
    found = dict(_found(files(__package__) / "static"))

    def page(request: Request) -> Response:
        return found[PAGE].answer(request)

    def file(request: Request) -> Response:
        named = found.get(request.path_params["name"])
        return Response("there is no such file\n", 404) if named is None else named.answer(request)

    return [Route("/", page), Route(f"{FOLDER}/{{name:path}}", file)]


def _found(folder: Traversable, prefix: str = "") -> Sequence[tuple[str, _File]]:
    found: list[tuple[str, _File]] = []
    for entry in folder.iterdir():
        suffix = entry.name.rpartition(".")[2]
        if entry.is_dir():
            found += _found(entry, f"{prefix}{entry.name}/")
        elif suffix in _TYPES:
            content = entry.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found.append((prefix + entry.name, _File(content, _TYPES[suffix], etag)))
    return found
