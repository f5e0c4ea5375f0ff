"""Where a configuration comes from: a file, or the admin interface of a running Envoy."""

import json
import ssl
from collections.abc import Iterable
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
_CONFIG_DUMP = "/config_dump"
_RESOURCES = ("static_resources", "dynamic_resources")


class SourceError(Exception):
    """A configuration that can't be had, or that is not an Envoy's; the message says what would be right."""


def from_file(file: Path) -> Configuration:
    """Read a bootstrap, or a saved answer of `/config_dump`, as YAML or JSON; raises SourceError."""
    files = read_files([file] if file.is_file() else [], "bootstrap", without_any="error")
    if not file.is_file():
        raise SourceError(
            f"{file}: {'is a folder' if file.is_dir() else 'no such file'}; give Envoy's bootstrap file"
        )
    if files.findings:
        raise SourceError("\n".join(map(str, files.findings)))
    try:
        documents = read_documents(files.texts[file], str(file))
    except InvalidConfigurationError as error:
        raise SourceError(str(error)) from None
    if len(documents) != 1:
        raise SourceError(f"{file}: holds {len(documents)} documents; a bootstrap is one")
    root = documents[0]
    return _of_dump(root, live=False) if view.field(root, "configs") is not None else _of_bootstrap(root)


def from_admin(address: str) -> Configuration:
    """Ask a running Envoy, by the address of its admin interface (`http://127.0.0.1:9901`); raises SourceError."""
    url = _dump_url(address)
    text = _fetch(url)
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
    if url.scheme not in {"http", "https"} or not url.host:
        raise SourceError(f"{address}: is no address of an admin interface; write http://HOST:PORT")
    return url.copy_with(path=_CONFIG_DUMP, query=None, fragment=None)


def _fetch(url: httpx.URL) -> bytes:
    context = (
        ssl.create_default_context() if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    body = bytearray()
    try:
        with (
            httpx.Client(verify=context, timeout=TIMEOUT_S, trust_env=False) as client,
            client.stream("GET", url) as answer,
        ):
            if not answer.is_success:
                raise SourceError(f"{url}: answers {answer.status_code}: {_HINT}")
            for part in answer.iter_bytes():
                body += part
                if len(body) > MAX_DUMP_BYTES:
                    raise SourceError(f"{url}: is longer than {MAX_DUMP_BYTES} bytes")
    except httpx.HTTPError as error:
        raise SourceError(f"{url}: no answer: {str(error) or type(error).__name__}; {_HINT}") from None
    return bytes(body)


def _of_bootstrap(root: Node) -> Configuration:
    keys = tuple(root.mapping or {})
    file = root.position.file
    if not any(view.field(root, name) is not None for name in _RESOURCES):
        close = next((match for key in keys for match in get_close_matches(key, _RESOURCES, 1)), None)
        hint = f"did you mean {close!r}?" if close else f"it has {', '.join(keys[:5]) or f'a {root.kind}'}"
        raise SourceError(f"{root.position}: is not Envoy's bootstrap: it has no static_resources; {hint}")
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


def _of_dump(root: Node, *, live: bool) -> Configuration:
    configs = view.items(root, "configs")
    parts = {view.text(each, "@type").rpartition(".")[2]: each for each in configs}
    bootstrap = view.field(parts.get("BootstrapConfigDump"), "bootstrap")
    if bootstrap is None:
        raise SourceError(f"{root.position.file}: has no bootstrap in it; save all of /config_dump")
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
