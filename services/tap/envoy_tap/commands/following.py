"""Following a session: its exchanges as they come, and what Ctrl-C does."""

import sys
from typing import Any, Literal

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS
from envoy_tap.client import SessionClient
from envoy_tap.commands.meter import Meter
from envoy_tap.commands.output import Format, note, write_json
from envoy_tap.shown import exchange_line, session_line

Interrupt = Literal["ask", "stop", "leave"]


def follow(
    client: SessionClient, session: dict[str, Any], form: Format, *, after: int | None, filter_: str = ""
) -> int:
    """Write exchanges until the session has ended; those after the number *after*, or new ones only.

    JSON is a line each, of the whole exchange with its `seq`.
    """
    query: dict[str, str | int] = {"full": int(form == "json")}
    query |= {} if after is None else {"after": after}
    query |= {"filter": filter_} if filter_ else {}
    last = session
    with Meter(session) as meter:
        for name, data in client.watch(session["id"], **query):
            match name:
                case "exchange" if form == "json":
                    write_json(data, indent=None)
                case "exchange":
                    meter.result(exchange_line(data))
                case "session":
                    meter.update(data)
                    last = data
                case "denied":
                    meter.say("you may watch it no longer: a token or a rule has changed")
                    return EXIT_FINDINGS
                case "deleted":
                    meter.say("the session was deleted")
                    return EXIT_FINDINGS
                case "closing":
                    meter.say("the service stops; the session goes on when it is back")
                    return EXIT_FINDINGS
                case _:
                    # A later service may tell more.
                    continue
    if form == "text":
        note(session_line(last))
    return EXIT_CLEAN


def interrupted(client: SessionClient, session_id: str, choice: Interrupt) -> int:
    """Do what Ctrl-C means for the session that this command has started."""
    if choice == "ask":
        choice = _asked(session_id) if sys.stdin.isatty() and sys.stderr.isatty() else "stop"
    if choice == "leave":
        note(f"session {session_id} goes on; `envoy-tap watch {session_id}` follows it, `stop` ends it")
        return EXIT_CLEAN
    note(session_line(client.stop(session_id)))
    return EXIT_CLEAN


def _asked(session_id: str) -> Interrupt:
    sys.stderr.write(f"\nStop session {session_id}? [Y/n] ")
    sys.stderr.flush()
    try:
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        # Pressed again: they mean it.
        answer = "y"
    return "leave" if answer in {"n", "no"} else "stop"
