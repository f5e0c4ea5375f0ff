"""Where a configuration comes from: a file, or the admin interface of a running Envoy."""

import asyncio
import json
import os
import ssl
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import httpx

from envoy_sidecar.config.documents import MAX_DEPTH, Node, Place, read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import InvalidConfigurationError, Position
from envoy_sidecar.doctor import view
from envoy_sidecar.doctor.model import Configuration

MAX_DUMP_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 10.0
"""For each step of the connection; the whole dump has `PATIENCE_S`."""

PATIENCE_S = 30.0
_CONFIG_DUMP = "/config_dump"
_LAST_PORT = 65_535
_RESOURCES = ("static_resources", "dynamic_resources")


class SourceError(Exception):
    """A configuration that can't be had, or that is not an Envoy's; the message says what would be right."""


def from_file(file: Path) -> Configuration:
    """Read a bootstrap, or a saved answer of `/config_dump`, as YAML or JSON; raises SourceError."""
    files = read_files([file] if file.is_file() else [], "bootstrap", without_any="error")
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is no regular file" if file.exists() else "no such file"
        raise SourceError(f"{file}: {what}; give Envoy's bootstrap file")
    if files.findings:
        raise SourceError("\n".join(map(str, files.findings)))
    try:
        documents = read_documents(files.texts[file], str(file))
    except InvalidConfigurationError as error:
        raise SourceError(str(error)) from None
    if not documents:
        raise SourceError(f"{file}: is empty; give Envoy's bootstrap file")
    root = documents[0]
    if len(documents) > 1:
        hint = _hint_about_manifest(root)
        raise SourceError(
            f"{file}: holds {len(documents)} documents; a bootstrap is one{hint and f': {hint}'}"
        )
    return _of_dump(root, live=False) if view.field(root, "configs") is not None else _of_bootstrap(root)


def from_admin(address: str) -> Configuration:
    """Ask a running Envoy, by the address of its admin interface (`http://127.0.0.1:9901`); raises SourceError."""
    asked = _dump_url(address)
    text = asyncio.run(_fetch(asked))
    url = _shown(asked)
    try:
        root = _node(json.loads(text), Position(str(url)), None, 0)
    except (ValueError, RecursionError):
        raise SourceError(f"{url}: answers, but not with JSON: {_HINT}") from None
    if view.field(root, "configs") is None:
        raise SourceError(f"{url}: answers, but not with `configs`: {_HINT}")
    return _of_dump(root, live=True)


_HINT = "give the address in `admin` of Envoy's bootstrap, which serves /config_dump"


def _dump_url(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address if "://" in address else f"http://{address}")
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in {"http", "https"} or not url.host or not 0 < (url.port or 80) <= _LAST_PORT:
        raise SourceError(f"{address}: is no address of an admin interface; write http://HOST:PORT")
    return url.copy_with(path=_CONFIG_DUMP, query=None, fragment=None)


def _shown(url: httpx.URL) -> httpx.URL:
    """Return *url* for a message: without a password."""
    return url.copy_with(userinfo=b"")


def _why(error: BaseException) -> str:
    """Return what the system said at the bottom of *error*: its attempts at each address of a host are wrapped."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    if isinstance(error, BaseExceptionGroup):
        return _why(error.exceptions[0])
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


async def _fetch(url: httpx.URL) -> bytes:
    """Return the body of the answer; raises SourceError."""
    context = (
        ssl.create_default_context() if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    shown = _shown(url)
    body = bytearray()
    try:
        async with (
            asyncio.timeout(PATIENCE_S),
            httpx.AsyncClient(verify=context, timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            if not answer.is_success:
                raise SourceError(f"{shown}: answers {answer.status_code}: {_HINT}")
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > MAX_DUMP_BYTES:
                    raise SourceError(f"{shown}: is longer than {MAX_DUMP_BYTES} bytes")
    except httpx.TimeoutException:
        raise SourceError(f"{shown}: no answer within {TIMEOUT_S:.0f} s; {_HINT}") from None
    except httpx.HTTPError as error:
        raise SourceError(f"{shown}: no answer: {_why(error)}; {_HINT}") from None
    except TimeoutError:
        raise SourceError(f"{shown}: no whole answer within {PATIENCE_S:g} s; {_HINT}") from None
    return bytes(body)


def _of_bootstrap(root: Node) -> Configuration:
    keys = tuple(root.mapping or {})
    file = root.position.file
    if not any(view.field(root, name) is not None for name in _RESOURCES):
        raise SourceError(
            f"{root.position}: is not Envoy's bootstrap: it has no static_resources; {_hint(root, keys)}"
        )
    resources = view.field(root, "static_resources")
    for name in ("listeners", "clusters"):
        found = view.field(resources, name)
        if found is not None and found.sequence is None:
            raise SourceError(f"{found.position}: static_resources.{name} must be a list, is {found.kind}")
    return Configuration(
        origin=file,
        root=root,
        node=view.field(root, "node"),
        listeners=view.items(resources, "listeners"),
        clusters=_named(view.items(resources, "clusters")),
        more_clusters=view.field(root, "dynamic_resources", "cds_config") is not None,
    )


def _hint(root: Node, keys: Sequence[str]) -> str:
    """Say what *root* seems to be in place of a bootstrap, and what to do."""
    close = next((match for key in keys for match in get_close_matches(key, _RESOURCES, 1, 0.8)), None)
    if close:
        return f"did you mean {close!r}?"
    if not keys:
        return f"it is {'a list' if root.sequence is not None else 'a single value'}"
    if "resources" in keys:
        return "it holds resources that an Envoy fetches (xDS): ask the running one with --envoy"
    return _hint_about_manifest(root) or f"it has {', '.join(keys[:5])}"


def _hint_about_manifest(root: Node) -> str:
    kind = view.text(root, "kind")
    if not kind or root.get("apiVersion") is None:
        return ""
    return f"this is a manifest ({kind}): ask the Envoy that comes of it with --envoy"


def _of_dump(root: Node, *, live: bool) -> Configuration:
    configs = view.items(root, "configs")
    parts = {view.text(each, "@type").rpartition(".")[2]: each for each in configs}
    bootstrap = view.field(parts.get("BootstrapConfigDump"), "bootstrap")
    if bootstrap is None:
        hint = _HINT if live else "save all of /config_dump"
        raise SourceError(f"{root.position.file}: has no bootstrap in it; {hint}")
    listeners, clusters, routes = (
        parts.get(f"{name}ConfigDump") for name in ("Listeners", "Clusters", "Routes")
    )
    node = view.field(bootstrap, "node")
    return Configuration(
        origin=root.position.file,
        root=root,
        node=node,
        listeners=_found(
            *(view.field(each, "listener") for each in view.items(listeners, "static_listeners")),
            *(
                view.field(each, "active_state", "listener")
                for each in view.items(listeners, "dynamic_listeners")
            ),
        ),
        clusters=_named(_each(clusters, "cluster", "static_clusters", "dynamic_active_clusters")),
        routes=_named(_each(routes, "route_config", "static_route_configs", "dynamic_route_configs")),
        extensions=_named(_each(parts.get("EcdsConfigDump"), "ecds_filter", "ecds_filters")),
        live=live,
        version=_version(node),
    )


def _version(node: Node | None) -> tuple[int, int] | None:
    version = view.field(node, "user_agent_build_version", "version")
    major, minor = (view.number(version, f"{part}_number") for part in ("major", "minor"))
    return None if major is None else (int(major), int(minor or 0))


def _each(node: Node | None, inner: str, *lists: str) -> tuple[Node, ...]:
    return _found(*(view.field(each, inner) for name in lists for each in view.items(node, name)))


def _found(*nodes: Node | None) -> tuple[Node, ...]:
    return tuple(node for node in nodes if node is not None)


def _named(nodes: Iterable[Node]) -> dict[str, Node]:
    return {view.text(node, "name"): node for node in nodes}


def _node(value: object, position: Position, place: Place | None, depth: int) -> Node:
    """Return JSON as a node: the reader of YAML, which knows lines, is too slow for a dump of megabytes."""
    if depth > 2 * MAX_DEPTH:
        raise RecursionError
    if isinstance(value, dict):
        mapping = {key: _node(each, position, Place(place, key), depth + 1) for key, each in value.items()}
        return Node(position, place, mapping=mapping)
    if isinstance(value, list):
        items = tuple(_node(each, position, Place(place, i), depth + 1) for i, each in enumerate(value))
        return Node(position, place, sequence=items)
    scalar = value if isinstance(value, str | int | float | bool) else None
    return Node(position, place, scalar=scalar, written=str(value))
