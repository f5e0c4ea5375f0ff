"""`envoy-tap replay`: send a captured request again, to a target that is given, after showing what that means."""

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS
from envoy_tap import replay as replaying
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask, named
from envoy_tap.commands.output import FormatOption, UsageError, note, write, write_json
from envoy_tap.commands.sessions import SessionArgument
from envoy_tap.core.exchange import Exchange
from envoy_tap.core.record import exchange_of
from envoy_tap.shown import plain, size
from envoy_tap.shown_exchange import half_text


def replay(
    session: SessionArgument,
    seq: Annotated[int, Parameter(help="The number of the exchange.")],
    /,
    *,
    to: Annotated[
        str, Parameter(help="Where to: http://HOST:PORT or https://HOST; a path goes before its own.")
    ],
    yes: Annotated[bool, Parameter(negative=(), help="Send it without asking.")] = False,
    force: Annotated[
        bool, Parameter(negative=(), help="Send it though something in it is redacted or cut off.")
    ] = False,
    ca: Annotated[Path | None, Parameter(help="PEM of who signs the target's certificate.")] = None,
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """Send a captured request again, from here and to nowhere but TO, and show the answer beside the captured one.

    What is sent is shown first. Exit code 1 if it is refused or nothing answers.
    """

    def do(client: SessionClient) -> int:
        session_id = named(client, session)
        exchange = exchange_of(client.exchange(session_id, seq)["exchange"])
        try:
            prepared = replaying.prepare(exchange, replaying.Target.read(to), f"{session_id}/{seq}")
        except replaying.ReplayError as error:
            raise UsageError(str(error)) from None
        for line in _sent(replaying.sent_object(prepared)):
            note(plain(line))
        if prepared.doubts and not force:
            note("envoy-tap: not sent; --force sends it even so")
            return EXIT_FINDINGS
        if not yes and not _confirmed(prepared.to):
            note("not sent")
            return EXIT_FINDINGS
        try:
            answer = replaying.send(prepared, ca)
        except replaying.ReplayError as error:
            note(f"envoy-tap: {error}")
            return EXIT_FINDINGS
        _show(exchange, answer, form)
        return EXIT_CLEAN

    return ask(service, do)


def _sent(sent: dict[str, Any]) -> list[str]:
    return [
        f"{sent['method']} {sent['url']}",
        *(f"  {name}: {value}" for name, value in sent["headers"]),
        f"  with a body of {size(sent['body_bytes'])}" if sent["body_bytes"] else "  without a body",
        *(f"  ! {doubt}" for doubt in sent["doubts"]),
    ]


def _confirmed(to: replaying.Target) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask at; --yes sends it")
    sys.stderr.write(f"Send this to {to}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _show(exchange: Exchange, answer: replaying.Answer, form: str) -> None:
    found = replaying.answer_object(exchange, answer)
    if form == "json":
        write_json(found)
        return
    write(half_text("answer", str(answer.status), found["response"], found["decoded"]))
    same = "are the same" if found["same_body"] else "differ"
    captured = found["captured_status"] or "no status"
    note(f"{answer.status} in {found['took_ms']} ms; captured was {captured}, and the bodies {same}")
