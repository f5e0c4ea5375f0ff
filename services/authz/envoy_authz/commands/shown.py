"""Requests as people read and type them: in a sentence, and as the options of `explain` and `check`."""

import json
import shlex
from collections.abc import Iterator, Mapping

from envoy_authz.commands.asked import Asked

_LABEL = "labels."


def in_words(asked: Asked) -> str:
    """Return *asked* in one line."""
    request = asked.request
    host = f"{request.host}" if request.host else ""
    parts = [f"{request.method} {host}{request.path}"]
    parts.extend(
        [f"by {request.source_principal.removeprefix('spiffe://')}"] if request.source_principal else []
    )
    parts.extend([f"from {request.source_address}"] if request.source_address else [])
    parts.extend(f"with {name}: {value}" for name, value in request.request_headers.items())
    parts.extend(f"with a token {json.dumps(dict(token.claims))}" for token in asked.authentication.tokens)
    parts.extend([f"with the body {request.body.decode(errors='replace')}"] if request.body else [])
    parts.extend([f"to port {request.destination_port}"] if request.destination_port else [])
    parts.extend([f"to {request.sni} by SNI"] if request.sni else [])
    parts.extend([f"to {request.destination_address}"] if request.destination_address else [])
    parts.extend(f"for {name.removeprefix(_LABEL)} {value}" for name, value in request.context.items())
    return ", ".join(parts)


def as_options(asked: Asked) -> str:
    """Return the options of `explain` that make *asked*."""
    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{_escaped(word)}'" for word in _options(asked)
    )


def _escaped(word: str) -> str:
    return word.encode("unicode_escape").decode().replace("'", "\\'")


def _options(asked: Asked) -> Iterator[str]:
    request = asked.request
    yield from ("--method", request.method, "--path", request.path)
    texts: Mapping[str, str] = {
        "--host": request.host,
        "--scheme": request.scheme,
        "--principal": request.source_principal,
        "--address": request.source_address,
        "--destination": request.destination_address,
        "--sni": request.sni,
        "--port": str(request.destination_port or ""),
        "--body": request.body.decode(errors="replace"),
    }
    for option, text in texts.items():
        if text:
            yield from (option, text)
    for name, value in request.request_headers.items():
        yield from ("--header", f"{name}: {value}")
    for name, value in request.context.items():
        if name == "namespace":
            yield from ("--namespace", value)
        elif name.startswith(_LABEL):
            yield from ("--label", f"{name.removeprefix(_LABEL)}={value}")
        else:
            yield from ("--context", f"{name}={value}")
    for token in asked.authentication.tokens[:1]:
        yield from ("--claims", json.dumps(dict(token.claims)))


def as_data(asked: Asked) -> dict[str, object]:
    """Return *asked* as JSON values, what is absent left out."""
    request = asked.request
    data: dict[str, object] = {
        "method": request.method,
        "path": request.path,
        "host": request.host,
        "scheme": request.scheme,
        "principal": request.source_principal,
        "address": request.source_address,
        "destination": request.destination_address,
        "port": request.destination_port,
        "sni": request.sni,
        "headers": dict(request.request_headers),
        "context": dict(request.context),
        "body": request.body.decode(errors="replace"),
        "tokens": [dict(token.claims) for token in asked.authentication.tokens],
    }
    return {name: value for name, value in data.items() if value}
