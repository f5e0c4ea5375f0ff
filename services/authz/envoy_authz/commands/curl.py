"""A `curl` command line as the request that it sends."""

import base64
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import quote_plus

from envoy_authz.core.request import Request

_BODY = frozenset(
    {"-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--data-urlencode", "--json"}
)
_LONG = {
    "-X": "--request",
    "-H": "--header",
    "-A": "--user-agent",
    "-e": "--referer",
    "-b": "--cookie",
    "-u": "--user",
    "-G": "--get",
    "-I": "--head",
}
# What changes nothing that a policy reads.
_IGNORED = frozenset(
    {
        *(
            "-s",
            "-S",
            "-k",
            "-i",
            "-v",
            "-L",
            "-f",
            "-g",
            "-N",
            "-#",
            "-0",
            "-1",
            "-2",
            "-3",
            "-4",
            "-6",
            "-q",
        ),
        *(
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--verbose",
            "--location",
            "--fail",
            "--http1.1",
        ),
        *(
            "--http2",
            "--http2-prior-knowledge",
            "--http3",
            "--compressed",
            "--globoff",
            "--no-buffer",
            "--ipv4",
        ),
        *("--ipv6", "--fail-with-body", "--path-as-is", "--get", "--head"),
    }
)
_IGNORED_WITH_VALUE = frozenset(
    {
        *(
            "-o",
            "-w",
            "-m",
            "-E",
            "-x",
            "-c",
            "-D",
            "--output",
            "--write-out",
            "--max-time",
            "--connect-timeout",
        ),
        *("--cert", "--key", "--cacert", "--resolve", "--connect-to", "--proxy", "--retry", "--interface"),
        *("--cookie-jar", "--unix-socket", "--capath", "--pass", "--tls-max", "--dump-header"),
    }
)
_HEADERS = {"--user-agent": "user-agent", "--referer": "referer", "--cookie": "cookie"}
_WITH_VALUE = frozenset({"--request", "--header", "--user", "--url", "--oauth2-bearer", *_HEADERS, *_BODY})
_SCHEMES = ("http://", "https://")


def request_from_curl(line: str) -> Request:
    """Return the request that the command *line* sends, as Envoy would get it. Raises ValueError."""
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise ValueError(f"this is no command line: {error}") from None
    if words[:1] == ["curl"]:
        words = words[1:]
    options = list(_options(words))
    urls = [value for name, value in options if name == "--url"]
    if len(urls) != 1:
        raise ValueError(f"{len(urls)} URLs are in this curl line; one is needed")
    given = {name for name, _value in options}
    scheme, host, path = _parts(urls[0], as_is="--path-as-is" in given)
    headers = _headers(options)
    body = "&".join(value for name, value in options if name in _BODY)
    if "--get" in given and body:
        path += ("&" if "?" in path else "?") + body
        body = ""
    elif given & _BODY:
        kind = "application/json" if "--json" in given else "application/x-www-form-urlencoded"
        headers.setdefault("content-type", kind)
    methods = [value for name, value in options if name == "--request"]
    method = "HEAD" if "--head" in given else "POST" if given & _BODY and "--get" not in given else "GET"
    return Request(
        method=methods[-1] if methods else method,
        path=path,
        host=headers.pop("host", host),
        scheme=scheme,
        body=body.encode(),
        request_headers=headers,
    )


def _options(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            yield "--url", word
        elif word.startswith("--"):
            yield _option(word, rest)
        else:
            yield from _short(word, rest)


def _option(word: str, rest: Iterator[str]) -> tuple[str, str]:
    name = _LONG.get(word, word)
    if name in _WITH_VALUE or name in _IGNORED_WITH_VALUE:
        value = next(rest, None)
        if value is None:
            raise ValueError(f"{word} of curl has no value")
        if name in _BODY and name != "--data-raw" and value.startswith("@"):
            raise ValueError(f"{word} {value}: files are not read; write the body itself")
        return name, value if name != "--data-urlencode" else _encoded(value)
    if name not in _IGNORED:
        raise ValueError(f"{word} of curl is not known here; leave it out if no policy depends on it")
    return name, ""


def _short(word: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
    """Yield the options of `-sXPOST`: flags, and at the end one whose value may follow at once."""
    for place, letter in enumerate(word[1:], start=1):
        name = _LONG.get(f"-{letter}", f"-{letter}")
        if name in _WITH_VALUE or name in _IGNORED_WITH_VALUE:
            attached = word[place + 1 :]
            yield _option(f"-{letter}", iter([attached]) if attached else rest)
            return
        yield _option(f"-{letter}", rest)


def _encoded(value: str) -> str:
    name, equals, text = value.partition("=")
    return f"{name}{equals}{quote_plus(text)}" if equals else quote_plus(value)


def _headers(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    headers = {"user-agent": "curl", "accept": "*/*"}
    lines: dict[str, list[str]] = {}
    for name, value in options:
        if name == "--header":
            key, colon, text = value.partition(":")
            if not colon:
                raise ValueError(f"{value!r} is no header: write name: value")
            lines.setdefault(key.strip().lower(), []).append(text.strip())
        elif name in _HEADERS:
            headers[_HEADERS[name]] = value
        elif name == "--user":
            headers["authorization"] = f"Basic {base64.b64encode(value.encode()).decode()}"
        elif name == "--oauth2-bearer":
            headers["authorization"] = f"Bearer {value}"
    joined = {name: ",".join(values) for name, values in lines.items()}
    return {name: value for name, value in (headers | joined).items() if value}


def _parts(url: str, *, as_is: bool) -> tuple[str, str, str]:
    scheme = next((one for one in _SCHEMES if url.lower().startswith(one)), None)
    if scheme is None and "://" in url:
        raise ValueError(f"{url!r} is no HTTP URL")
    rest = url[len(scheme) :] if scheme else url
    rest = rest.partition("#")[0]
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    host, path = rest[:end], rest[end:]
    if not host:
        raise ValueError(f"{url!r} has no host")
    if not path.startswith("/"):
        path = f"/{path}"
    return (
        (scheme or "http://").removesuffix("://"),
        host.rpartition("@")[2],
        path if as_is else _squashed(path),
    )


def _squashed(path: str) -> str:
    """Return *path* without dot segments, which curl removes unless told not to (RFC 3986 section 5.2.4)."""
    before, mark, query = path.partition("?")
    kept: list[str] = []
    segments = before.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return f"/{'/'.join(kept)}{mark}{query}"
