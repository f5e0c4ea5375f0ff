"""The demo's output: one row a step, with what was sent, what came back, who decided and why."""

import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from envoy_demo.client import Request, Response
from envoy_demo.outcome import Outcome, decided_by
from envoy_demo.scenario import POLICY_HEADER, REASON_HEADER, Decider
from envoy_demo.stack import Stack

# A pipe or a CI log has no width of its own.
_WIDTH_WITHOUT_TTY = 100
_BODY_CHARS = 40
_STYLES = {
    Decider.AUTHZ: "red",
    Decider.RATELIMIT: "yellow",
    Decider.UPSTREAM: "green",
    Decider.ENVOY: "magenta",
}


def make_console() -> Console:
    """Return the console that the demo writes to: colours on a terminal, plain text elsewhere."""
    console = Console(highlight=False)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(highlight=False, width=_WIDTH_WITHOUT_TTY)


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of all steps, numbered from 1; it needs 80 columns."""
    table = Table(box=box.SIMPLE_HEAD, expand=False, leading=1, padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True)
    # Words may be cut where they must, rather than columns be left out.
    table.add_column("sent", overflow="fold", ratio=4)
    table.add_column("came back", no_wrap=True)
    table.add_column("decided by", no_wrap=True)
    table.add_column("why", overflow="fold", ratio=4)
    for number, outcome in enumerate(outcomes, 1):
        last = outcome.responses[-1]
        decider = decided_by(last)
        table.add_row(
            Text(f"{number} FAIL" if outcome.problems else str(number), _verdict_style(outcome)),
            Text(f"{outcome.step.shows}\n", "bold").append(_sent(outcome.step.request), "not bold"),
            Text(_statuses(outcome.responses)),
            Text(decider, _STYLES[decider]),
            Text("\n".join([_why(last), *_tapped(outcome)])),
        )
    return table


def verdict_text(outcomes: Sequence[Outcome]) -> Text:
    """Return what did not come out as it should, each with the number of its row, or that nothing did."""
    problems = [
        f"row {number} ({outcome.step.shows}): {problem}"
        for number, outcome in enumerate(outcomes, 1)
        for problem in outcome.problems
    ]
    if problems:
        return Text("\n".join(["Not as it should be:", *problems]), "bold red")
    return Text(f"All {len(outcomes)} came out as they should.", "green")


def play_with_it(stack: Stack) -> Text:
    """Return how to go on by curl against the running stack."""
    base = f"http://127.0.0.1:{stack.envoy.port}"
    tap = f"127.0.0.1:{stack.tap.admin_port}"
    return Text(
        f"""
Everything stays up until Ctrl-C. In another terminal:

  # allowed: anyone may read what is public
  curl -i {base}/public/hello
  # 403: x-envoy-authz-reason and the body say why
  curl -i {base}/admin/users
  # five times 200, then 429
  for i in 1 2 3 4 5 6; do curl -s -o /dev/null -w '%{{http_code}}\\n' \\
    -H 'x-user: carol' {base}/orders; done
  # captured, its secret redacted
  curl -d '{{"item": "cake"}}' -H 'authorization: Bearer s3cret' \\
    {base}/orders/traced/1
  export TAP_ADMIN={tap} PATH={Path(sys.executable).parent}:$PATH
  envoy-tap list last     # what the newest session captured
  envoy-tap show last 1   # all of its first exchange
  # a session of your own, followed live; Ctrl-C ends it
  envoy-tap start --path /orders --reason 'trying it out'

  Envoy's admin  http://127.0.0.1:{stack.envoy.admin_port}
  authz          http://127.0.0.1:{stack.authz.admin_port}/readyz, /config, /metrics
  ratelimit      http://127.0.0.1:{stack.ratelimit.admin_port}/readyz, /config, /metrics
  tap            http://{tap}/readyz, /config, /metrics; http://{tap}/ is its console
  logs           {stack.envoy.process.log.parent}

Policies and limits are read from {stack.examples}:
save a change there and it counts at once."""
    )


def _verdict_style(outcome: Outcome) -> str:
    return "bold red" if outcome.problems else "green"


def _sent(request: Request) -> str:
    lines = [f"{request.method} {request.path}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items() if name != "content-type"]
    if request.body:
        lines.append(request.body.decode())
    return "\n".join(lines)


def _statuses(responses: Sequence[Response]) -> str:
    runs = [(status, len(list(run))) for status, run in groupby(response.status for response in responses)]
    return "\n".join(f"{count} x {status}" if count > 1 else str(status) for status, count in runs)


def _why(response: Response) -> str:
    reason = response.headers.get(REASON_HEADER)
    if reason is not None:
        policy = response.headers.get(POLICY_HEADER)
        named = f"{reason} ({policy})" if policy else reason
        return f"{named}\n{response.text.strip()}"
    if response.headers.get("x-ratelimit-limit"):
        return _limit(response)
    if decided_by(response) is Decider.UPSTREAM:
        return "let through by all"
    return response.text.strip() or "no service answered Envoy"


def _tapped(outcome: Outcome) -> list[str]:
    captured = outcome.captured
    if captured is None:
        return ["tap: not captured"] if "authorization" in outcome.step.request.headers else []
    return [
        f"tap: {captured.method} {captured.path} {captured.status}",
        f"tap: authorization: {captured.request_headers.get('authorization')}",
        f"tap: sent {captured.request_body}",
        f"tap: back {_cut(captured.response_body)}",
    ]


def _limit(response: Response) -> str:
    # Of several limits Envoy puts the tightest first, and all with their windows behind it.
    tightest = response.headers["x-ratelimit-limit"].partition(",")[0]
    remaining, reset = (response.headers.get(f"x-ratelimit-{name}", "?") for name in ("remaining", "reset"))
    if decided_by(response) is Decider.RATELIMIT:
        return f"over the limit of {tightest}, next in {reset} s"
    return f"within the limit of {tightest}, {remaining} left"


def _cut(text: str) -> str:
    return text if len(text) <= _BODY_CHARS else f"{text[:_BODY_CHARS]}... ({len(text)} characters)"
