"""Sessions and exchanges as people read them on a terminal; what comes from traffic can't control it."""

from datetime import datetime
from typing import Any

from rich.table import Column, Table
from rich.text import Text

_ID_CHARS = 12
_COUNTS = (
    "unmatched",
    "over_rate",
    "over_limit",
    "late",
    "other_node",
    "forbidden",
    "dropped",
    "skipped",
    "truncated",
    "incomplete",
)


def plain(text: str) -> str:
    """Return *text* without anything that a terminal obeys."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def exchange_line(exchange: dict[str, Any]) -> str:
    """Return one line about a stored exchange."""
    request, response = exchange["request"] or {}, exchange["response"] or {}
    took_ms = 1000 * (_time(exchange["finished"]) - _time(exchange["time"])).total_seconds()
    flags = [name for name, is_set in exchange["flags"].items() if is_set]
    parts = (
        f"{_time(exchange['time']):%H:%M:%S.%f}"[:-3],
        exchange["node"]["id"],
        request.get("method") or "-",
        f"{request.get('authority') or ''}{request.get('path') or '-'}",
        str(response.get("status") or "-"),
        f"{took_ms:.1f}ms",
        *flags,
    )
    return plain(" ".join(parts))


def session_line(session: dict[str, Any]) -> str:
    """Return how far a session has come, with every loss."""
    counts, limits = session["counts"], session["limits"]
    losses = [f"{name} {counts[name]}" for name in _COUNTS if counts.get(name)]
    return plain(
        f"session {session['id']} {session['state']}: {counts.get('captured', 0)}/{limits['exchanges']} exchanges, "
        f"{counts.get('bytes', 0)}/{limits['bytes']} bytes" + "".join(f", {loss}" for loss in losses)
    )


def session_text(session: dict[str, Any]) -> str:
    """Return all of a session, a line each."""
    nodes = {name: value for name, value in session["nodes"].items() if value and value != _NOWHERE}
    lines = {
        "who": session["who"],
        "why": session["why"],
        "predicate": session["predicate"],
        "nodes": str(nodes or "all"),
        "until": _when(session["expires_at_s"]),
        "ended": f"{_when(session['ended_at_s'])} {session['ended_by']}" if session["ended_at_s"] else "",
        "limits": ", ".join(f"{name} {value}" for name, value in session["limits"].items()),
        "redaction": session["redaction"]["style"],
    }
    return "\n".join(
        [session_line(session), *(plain(f"  {name}: {text}") for name, text in lines.items() if text)]
    )


def sessions_table(found: list[dict[str, Any]]) -> Table:
    """Return all sessions, a row each."""
    whole = [Column(name, no_wrap=True, min_width=len(name)) for name in ("State", "Until", "Exchanges")]
    told = [Column(name, overflow="fold") for name in ("Who", "Why", "Predicate")]
    table = Table(Column("ID", no_wrap=True, min_width=_ID_CHARS), *whole, *told, box=None)
    for each in found:
        texts = (
            each["id"],
            each["state"],
            _when(each["expires_at_s"])[-8:],
            f"{each['counts'].get('captured', 0)}/{each['limits']['exchanges']}",
            each["who"],
            each["why"],
            each["predicate"],
        )
        table.add_row(*(Text(plain(text)) for text in texts))
    return table


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _when(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"


_NOWHERE = {"region": "", "zone": "", "sub_zone": ""}
