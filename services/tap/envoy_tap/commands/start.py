"""`envoy-tap start`: begin a session and follow it."""

from typing import Annotated

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask
from envoy_tap.commands.capture import Capture
from envoy_tap.commands.following import Interrupt, follow, interrupted
from envoy_tap.commands.output import Format, FormatOption, note, write, write_json
from envoy_tap.commands.target import Target
from envoy_tap.shown import plain, waiting_text

_ANYTHING = Target()
_DEFAULT = Capture()


def start(
    predicate: Annotated[str, Parameter(help="A condition: 'status=5xx and latency>1s'.")] = "",
    /,
    *,
    reason: Annotated[
        str, Parameter(help="Why; it is kept with the session, for those who look at it later.")
    ],
    target: Target = _ANYTHING,
    capture: Capture = _DEFAULT,
    detach: Annotated[
        bool, Parameter(negative=(), help="Write the session's id, and leave it running.")
    ] = False,
    on_interrupt: Annotated[
        Interrupt,
        Parameter(help="What Ctrl-C does to the session; ask stops it where there is no terminal."),
    ] = "ask",
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """Start a session and follow it live, with a line of how much of its limits is used.

    What PREDICATE and the options say must all hold. Exit code 0 when it has ended, 1 if the service refused.
    """

    def do(client: SessionClient) -> int:
        sent = target.predicate(predicate)
        session = client.start(
            {
                "why": reason,
                "predicate": sent,
                "nodes": target.nodes(),
                "limits": capture.limits(),
                "redaction": capture.redaction(),
                "socket": capture.socket,
            }
        )
        for each in session.get("warnings", ()):
            note(plain(f"warning: {each}"))
        if session["state"] == "waiting":
            note(waiting_text(session))
        if detach:
            _told(session["id"], session, form)
            return EXIT_CLEAN
        if form == "text":
            note(plain(f"session {session['id']}: {session['predicate']}"))
        try:
            # From its beginning: something may be captured before the stream of events begins.
            return follow(client, session, form, after=0)
        except KeyboardInterrupt:
            return interrupted(client, session["id"], on_interrupt)

    return ask(service, do, predicate=lambda: target.predicate(predicate))


def _told(session_id: str, session: dict[str, object], form: Format) -> None:
    if form == "json":
        write_json(session)
    else:
        write(session_id)
