"""The commands about one session or all of them: list, show, watch, stop, approve and delete."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask, named
from envoy_tap.commands.following import follow
from envoy_tap.commands.output import Format, FormatOption, UsageError, render, write, write_json
from envoy_tap.commands.target import read
from envoy_tap.core.decode import as_object, decoded
from envoy_tap.core.decode.body import plain_body
from envoy_tap.core.predicate import printed
from envoy_tap.core.record import exchange_of
from envoy_tap.descriptors import Descriptors, DescriptorsError
from envoy_tap.shown import exchanges_table, session_line, session_text, sessions_table
from envoy_tap.shown_exchange import exchange_text

SessionArgument = Annotated[
    str, Parameter(help="A session's id, the beginning of one, or `last`: the newest.")
]
FilterOption = Annotated[str, Parameter(name="--filter", help="A predicate; only what fulfils it.")]
_PAGE = 500


def list_(
    session: SessionArgument = "",
    /,
    *,
    filter_: FilterOption = "",
    after: Annotated[int, Parameter(help="Only exchanges after this number.")] = 0,
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """List all sessions, oldest first; with SESSION, the exchanges that it captured."""

    def do(client: SessionClient) -> int:
        if not session:
            _show(client.sessions(), sessions_table, form)
            return EXIT_CLEAN
        query: dict[str, str | int] = {"limit": _PAGE} | ({"filter": checked(filter_)} if filter_ else {})
        found: list[dict[str, Any]] = []
        next_: int | None = after
        session_id = named(client, session)
        while next_ is not None:
            page = client.exchanges(session_id, after=next_, **query)
            found += page["exchanges"]
            next_ = page.get("next")
        _show(found, exchanges_table, form)
        return EXIT_CLEAN

    return ask(service, do, predicate=filter_)


def show(
    session: SessionArgument,
    seq: Annotated[int | None, Parameter(help="The number of an exchange in it.")] = None,
    /,
    *,
    body: Annotated[
        Literal["request", "response"] | None,
        Parameter(help="Write nothing but this body, out of its content codings, byte by byte."),
    ] = None,
    descriptors: Annotated[
        tuple[Path, ...],
        Parameter(negative=(), help="Descriptor set of protoc, by which gRPC messages are shown by name."),
    ] = (),
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """Show a session: what was asked for, its state and its counters. With SEQ, one exchange, decoded."""

    def do(client: SessionClient) -> int:
        session_id = named(client, session)
        if seq is None:
            if body or descriptors:
                raise UsageError("--body and --descriptors are about one exchange: show SESSION SEQ")
            _show(client.show(session_id), session_text, form)
            return EXIT_CLEAN
        found = client.exchange(session_id, seq)
        exchange = exchange_of(found["exchange"])
        if body is not None:
            half = exchange.request if body == "request" else exchange.response
            if half is None:
                raise UsageError(f"the {body} was not captured")
            if sys.stdout.isatty():
                raise UsageError("what a peer sent can control a terminal; write it to a file: > FILE")
            sys.stdout.buffer.write(plain_body(half))
            return EXIT_CLEAN
        if descriptors:
            found["decoded"] = as_object(decoded(exchange, _schema(descriptors)))
        _show(found, exchange_text, form)
        return EXIT_CLEAN

    return ask(service, do)


def watch(
    session: SessionArgument,
    /,
    *,
    filter_: FilterOption = "",
    after: Annotated[int | None, Parameter(help="Begin after this exchange; 0 is with the first.")] = None,
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """Watch a session's exchanges as they come, until it ends; Ctrl-C leaves it running."""

    def do(client: SessionClient) -> int:
        found = client.show(named(client, session))
        try:
            return follow(client, found, form, after=after, filter_=checked(filter_))
        except KeyboardInterrupt:
            return EXIT_CLEAN

    return ask(service, do, predicate=filter_)


def stop(session: SessionArgument, /, *, form: FormatOption = "text", service: Service = LOCAL) -> int:
    """End a session; what it captured is kept."""
    return ask(service, lambda client: _line(client.stop(named(client, session)), form))


def approve(session: SessionArgument, /, *, form: FormatOption = "text", service: Service = LOCAL) -> int:
    """Let a session begin that a rule makes wait for a second person, who is you."""
    return ask(service, lambda client: _line(client.approve(named(client, session)), form))


def delete(session: SessionArgument, /, *, service: Service = LOCAL) -> int:
    """End a session, and destroy all that it captured."""

    def do(client: SessionClient) -> int:
        client.delete(named(client, session))
        return EXIT_CLEAN

    return ask(service, do)


def checked(filter_: str) -> str:
    """Return a filter as it is sent; raises UsageError that shows where it cannot be read."""
    return printed(read(filter_, "the filter")) if filter_.strip() else ""


def _line(session: dict[str, Any], form: Format) -> int:
    _show(session, session_line, form)
    return EXIT_CLEAN


def _show(found: Any, shown: Any, form: Format) -> None:
    if form == "json":
        write_json(found)
    elif isinstance(text := shown(found), str):
        write(text)
    else:
        render(text)


def _schema(paths: tuple[Path, ...]) -> Descriptors:
    try:
        return Descriptors(paths)
    except DescriptorsError as error:
        raise UsageError(f"--descriptors {error}") from None
