"""The commands about sessions: start, list, show, stop, delete, and watch."""

import json
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.settings import AdminOption
from envoy_sidecar.transport.address import Address
from envoy_tap.client import ApiError, SessionClient
from envoy_tap.core.predicate import Condition, Expr, Field, Op, PredicateError, all_of, parse, printed
from envoy_tap.core.session import Limits
from envoy_tap.settings import DEFAULT_ADMIN
from envoy_tap.shown import exchange_line, session_line, session_text, sessions_table

sessions = App(name="sessions", help="Start, list, show, stop and delete tap sessions.")

TokenOption = Annotated[str | None, Parameter(help="Bearer token; better in the environment, as TAP_TOKEN.")]
FormatOption = Annotated[
    Literal["text", "json"], Parameter(name="--format", help="text for people, json for programs.")
]
_DEFAULT = Limits()
# What is captured before the stream of events has begun.
_ALL = 1000
_DURATION = re.compile(r"([0-9]{1,6})([smh]?)")
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}


class _UsageError(Exception):
    """What was typed cannot be meant."""


@sessions.command
def start(
    predicate: str = "",
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; it is kept with the session.")],
    method: str | None = None,
    path: Annotated[str | None, Parameter(help="Prefix of the path; * or {name} make it a template.")] = None,
    authority: str | None = None,
    header: Annotated[tuple[str, ...], Parameter(help="NAME=VALUE, once for each.")] = (),
    status: Annotated[str | None, Parameter(help="503, or a class such as 5xx.")] = None,
    node: Annotated[tuple[str, ...], Parameter(help="Id of a proxy, * is any text; once for each.")] = (),
    node_cluster: Annotated[tuple[str, ...], Parameter(help="node.cluster of proxies; once for each.")] = (),
    for_: Annotated[str, Parameter(name="--for", help="How long: 90s, 10m, 2h.")] = "10m",
    exchanges: Annotated[int, Parameter(help="Most exchanges.")] = _DEFAULT.exchanges,
    bytes_: Annotated[int, Parameter(name="--bytes", help="Most bytes of all.")] = _DEFAULT.bytes,
    body_bytes: Annotated[int, Parameter(help="Most bytes of each body.")] = _DEFAULT.body_bytes,
    rate: Annotated[int, Parameter(help="Most exchanges a second.")] = _DEFAULT.rate_per_s,
    redact: Annotated[
        tuple[str, ...], Parameter(help="One more header, parameter, or JSON or form field.")
    ] = (),
    placeholders: Annotated[
        bool, Parameter(help="Equal secrets get equal placeholders, in the collector.")
    ] = False,
    detach: Annotated[bool, Parameter(help="Return at once, and leave it running.")] = False,
    form: FormatOption = "text",
    admin: AdminOption = DEFAULT_ADMIN,
    token: TokenOption = None,
) -> int:
    """Start a session and follow it live; Ctrl-C stops it.

    PREDICATE is a condition such as 'status=5xx and latency>1s'; options narrow it further. See docs/tap.md.
    """

    def run(client: SessionClient) -> int:
        asked = {
            "why": reason,
            "predicate": _combined(
                predicate, method=method, path=path, authority=authority, header=header, status=status
            ),
            "nodes": {"ids": list(node), "clusters": list(node_cluster)},
            "limits": {
                "duration_s": _seconds(for_),
                "exchanges": exchanges,
                "bytes": bytes_,
                "body_bytes": body_bytes,
                "rate_per_s": rate,
            },
            "redaction": {
                **{
                    name: [each for each in redact if _is_name(each)]
                    for name in ("headers", "query", "names")
                },
                "paths": [each for each in redact if not _is_name(each)],
                "style": "hmac" if placeholders else "mask",
            },
        }
        started = client.start(asked)
        if detach:
            _write(json.dumps(started) if form == "json" else started["id"])
            return EXIT_CLEAN
        if form == "text":
            _note(f"session {started['id']}: {started['predicate']}; Ctrl-C stops it")
        try:
            return _follow(client, started["id"], form, _ALL)
        except KeyboardInterrupt:
            _note(session_line(client.stop(started["id"])))
            return EXIT_CLEAN

    return _run(run, admin, token)


@sessions.command(name="list")
def list_(
    *, form: FormatOption = "text", admin: AdminOption = DEFAULT_ADMIN, token: TokenOption = None
) -> int:
    """List all sessions, oldest first."""

    def run(client: SessionClient) -> int:
        found = client.list()
        if form == "json":
            _write(json.dumps(found, indent=2))
        else:
            _print(sessions_table(found))
        return EXIT_CLEAN

    return _run(run, admin, token)


@sessions.command
def show(
    session: str,
    /,
    *,
    form: FormatOption = "text",
    admin: AdminOption = DEFAULT_ADMIN,
    token: TokenOption = None,
) -> int:
    """Show a session: what was asked for, its state and its counters."""

    def run(client: SessionClient) -> int:
        found = client.show(_id(session))
        _write(json.dumps(found, indent=2) if form == "json" else session_text(found))
        return EXIT_CLEAN

    return _run(run, admin, token)


@sessions.command
def stop(session: str, /, *, admin: AdminOption = DEFAULT_ADMIN, token: TokenOption = None) -> int:
    """End a session; what it captured is kept."""

    def run(client: SessionClient) -> int:
        _write(session_line(client.stop(_id(session))))
        return EXIT_CLEAN

    return _run(run, admin, token)


@sessions.command
def delete(session: str, /, *, admin: AdminOption = DEFAULT_ADMIN, token: TokenOption = None) -> int:
    """End a session and delete all that it captured."""

    def run(client: SessionClient) -> int:
        client.delete(_id(session))
        return EXIT_CLEAN

    return _run(run, admin, token)


def watch(
    session: str,
    /,
    *,
    replay: Annotated[int, Parameter(help="So many exchanges of before come first, 1000 at most.")] = 0,
    form: FormatOption = "text",
    admin: AdminOption = DEFAULT_ADMIN,
    token: TokenOption = None,
) -> int:
    """Watch a session's exchanges as they come, until it ends; Ctrl-C leaves it running."""

    def run(client: SessionClient) -> int:
        try:
            return _follow(client, _id(session), form, replay)
        except KeyboardInterrupt:
            return EXIT_CLEAN

    return _run(run, admin, token)


def _follow(client: SessionClient, session_id: str, form: str, replay: int) -> int:
    last: dict[str, Any] = {}
    for name, data in client.watch(session_id, replay):
        if form == "json":
            if name == "exchange":
                _write(json.dumps(data, separators=(",", ":")))
        elif name == "exchange":
            _write(exchange_line(data))
        elif name == "closing":
            _note("the service stops; the session goes on when it is back")
            return EXIT_FINDINGS
        elif name == "missed":
            _note(f"{data['exchanges']} exchanges came too fast to be shown; they are stored")
        elif name == "session" and data.get("counts") != last.get("counts"):
            _note(session_line(data))
        last = data if name == "session" else last
    if form == "text" and last:
        _note(session_line(last))
    return EXIT_CLEAN


def _run(run: Callable[[SessionClient], int], admin: str, token: str | None) -> int:
    try:
        return run(SessionClient(Address.parse(admin), token))
    except ApiError as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        return EXIT_FINDINGS
    except _UsageError as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        return EXIT_USAGE


def _combined(
    predicate: str,
    *,
    method: str | None,
    path: str | None,
    authority: str | None,
    header: tuple[str, ...],
    status: str | None,
) -> str:
    try:
        terms: list[Expr] = [parse(predicate)] if predicate else []
        terms += [
            Condition(Field(name), Op.EQUALS, value)
            for name, value in (("method", method), ("authority", authority))
            if value is not None
        ]
        if path is not None:
            terms.append(Condition(Field("path"), Op.LIKE if re.search(r"[*{]", path) else Op.BEGINS, path))
        for each in header:
            name, equals, value = each.partition("=")
            if not equals:
                raise _UsageError("--header is NAME=VALUE")
            terms.append(Condition(Field("header", name.lower()), Op.EQUALS, value))
        if status is not None:
            terms.append(parse(f"status={status}"))
        # Reads back what was put together, so that an option is checked as the predicate is.
        return printed(parse(printed(all_of(*terms))))
    except PredicateError as error:
        raise _UsageError(f"the predicate cannot be read: {error}") from None


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise _UsageError(f"--for: {text!r} is not a duration; write 90s, 10m or 2h")
    return int(found[1]) * _UNIT_S[found[2]]


def _is_name(text: str) -> bool:
    return "." not in text and "[" not in text


def _id(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{12}", text):
        raise _UsageError(f"{text!r} is not the id of a session; envoy-tap sessions list shows them")
    return text


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


def _print(table: Table) -> None:
    Console().print(table)
