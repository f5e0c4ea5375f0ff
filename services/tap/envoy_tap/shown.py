"""Sessions, exchanges and proxies as people read them on a terminal; what comes from traffic can't control it."""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.table import Column, Table
from rich.text import Text

_ID_CHARS = 12
_COUNTS = (
    "unmatched",
    "unread",
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
_NOWHERE = {"region": "", "zone": "", "sub_zone": ""}
_UNITS = ("B", "KiB", "MiB", "GiB")
_KIB = 1024
_TENS = 10


def plain(text: str) -> str:
    """Return *text* without anything that a terminal obeys."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def size(number_bytes: float) -> str:
    """Return a size for people: 0 B, 1.5 MiB, 64 MiB."""
    unit = 0
    while number_bytes >= _KIB and unit < len(_UNITS) - 1:
        number_bytes /= _KIB
        unit += 1
    whole = unit == 0 or number_bytes >= _TENS or number_bytes == int(number_bytes)
    return f"{number_bytes:.0f} {_UNITS[unit]}" if whole else f"{number_bytes:.1f} {_UNITS[unit]}"


def exchange_line(summary: dict[str, Any]) -> str:
    """Return one line about an exchange."""
    took_ms = summary["duration_ms"]
    grpc = summary.get("grpc_status")
    parts = (
        f"{summary['seq']:>4}",
        f"{_time(summary['time']):%H:%M:%S.%f}"[:-3],
        summary["node"]["id"],
        summary["method"] or "-",
        f"{summary['authority'] or ''}{summary['path'] or '-'}",
        str(summary["status"] or "-"),
        *([f"grpc {grpc}"] if grpc is not None else []),
        "-" if took_ms is None else f"{took_ms:.1f}ms",
        *summary["flags"],
    )
    return plain(" ".join(parts))


def losses(session: dict[str, Any]) -> list[str]:
    """Return what a session did not capture or not whole, each with its number."""
    return [f"{name} {session['counts'][name]}" for name in _COUNTS if session["counts"].get(name)]


def session_line(session: dict[str, Any]) -> str:
    """Return how far a session has come, with every loss."""
    counts, limits = session["counts"], session["limits"]
    parts = (
        f"{counts.get('captured', 0)}/{limits['exchanges']} exchanges",
        f"{size(counts.get('bytes', 0))}/{size(limits['bytes'])}",
        *losses(session),
    )
    return plain(f"session {session['id']} {session['state']}: {', '.join(parts)}")


def waiting_text(session: dict[str, Any]) -> str:
    """Return what must happen for a session to begin."""
    return f"session {session['id']} waits for a second person: envoy-tap approve {session['id']}"


def session_text(session: dict[str, Any]) -> str:
    """Return all of a session, a line each."""
    nodes = {name: value for name, value in session["nodes"].items() if value and value != _NOWHERE}
    limits = {
        name: size(value) if "bytes" in name else str(value) for name, value in session["limits"].items()
    }
    lines = {
        "who": session["who"],
        "why": session["why"],
        "predicate": session["predicate"],
        "nodes": str(nodes or "all"),
        "approved by": session.get("approved_by") or "",
        "until": _when(session["expires_at_s"]),
        "ended": _ended(session) if session["ended_at_s"] else "",
        "limits": ", ".join(f"{name} {value}" for name, value in limits.items()),
        "redaction": session["redaction"]["style"],
    }
    found = [session_line(session), *(plain(f"  {name}: {text}") for name, text in lines.items() if text)]
    reached = session.get("reached", ())
    found += [plain(f"  on {each['id']}: {_slot(each)}") for each in reached]
    if session["state"] == "active" and "reached" in session and not reached:
        found.append("  on no proxy yet: `envoy-tap nodes` shows those that are connected")
    if session["state"] == "waiting":
        found.append(f"  {waiting_text(session)}")
    return "\n".join(found)


def _ended(session: dict[str, Any]) -> str:
    by = f"used up by its {session['ended_by']}" if session["state"] == "exhausted" else session["ended_by"]
    return f"{_when(session['ended_at_s'])} {by or session['state']}"


def sessions_table(found: list[dict[str, Any]]) -> Table:
    """Return all sessions, a row each: below who and why, the predicate, so that 80 columns hold them."""
    whole = [Column(name, no_wrap=True, min_width=len(name)) for name in ("State", "Until", "Exchanges")]
    told = Column("Who, why and what", overflow="fold", ratio=1)
    rows = (
        (
            each["id"],
            each["state"],
            _when(each["expires_at_s"])[-8:],
            f"{each['counts'].get('captured', 0)}/{each['limits']['exchanges']}",
            (f"{each['who']}: {each['why']}", each["predicate"]),
        )
        for each in found
    )
    return _table([Column("ID", no_wrap=True, min_width=_ID_CHARS), *whole, told], rows)


def exchanges_table(found: list[dict[str, Any]]) -> Table:
    """Return the exchanges of a session, a row each: below the request, its proxy and what is amiss with it."""
    columns = [
        Column("Seq", justify="right", no_wrap=True),
        Column("Time", no_wrap=True),
        Column("Status", no_wrap=True),
        Column("ms", justify="right", no_wrap=True),
        Column("Bytes", justify="right", no_wrap=True),
        Column("Request", overflow="fold", ratio=1),
    ]
    rows = (
        (
            str(each["seq"]),
            f"{_time(each['time']):%H:%M:%S.%f}"[:-3],
            str(each["status"] or "-"),
            "-" if each["duration_ms"] is None else f"{each['duration_ms']:.1f}",
            str(each["request_bytes"] + each["response_bytes"]),
            (
                f"{each['method'] or '-'} {each['authority'] or ''}{each['path'] or '-'}",
                " ".join((f"on {each['node']['id']}", *each["flags"])),
            ),
        )
        for each in found
    )
    return _table(columns, rows)


def nodes_table(found: list[dict[str, Any]]) -> Table:
    """Return the connected proxies, a row each."""
    columns = [Column(name, overflow="fold") for name in ("Node", "Cluster", "Driver", "Sessions", "Slot")]
    rows = (
        (
            each["id"],
            each["cluster"],
            each.get("driver", "lua"),
            " ".join(each["sessions"]) or "-",
            _slot(each),
        )
        for each in found
    )
    return _table(columns, rows)


def audit_table(found: list[dict[str, Any]]) -> Table:
    """Return entries of the audit log, a row each."""
    columns = [
        Column(name, overflow="fold") for name in ("Seq", "Time", "Who", "Action", "Session", "Detail")
    ]
    rows = (
        (
            str(each["seq"]),
            each["time"],
            f"{each['who']} ({each['role']})",
            each["action"] if each["outcome"] == "ok" else f"{each['action']}: {each['outcome']}",
            each["session"] or "-",
            json.dumps(each["detail"], ensure_ascii=False),
        )
        for each in found
    )
    return _table(columns, rows)


def _slot(node: dict[str, Any]) -> str:
    if node.get("nack"):
        return f"refused: {node['nack']}"
    if node.get("problem"):
        return f"problem: {node['problem']}"
    if node.get("file"):
        return f"in {node['file']}"
    return "taken" if node["acked_version"] == node["sent_version"] else "sent, not answered yet"


def _table(columns: list[Column], rows: Iterable[tuple[str | tuple[str, ...], ...]]) -> Table:
    """Return *rows* as a table; a cell is a text, or several, one below the other."""
    table = Table(*columns, box=None)
    for row in rows:
        cells = ((cell,) if isinstance(cell, str) else cell for cell in row)
        table.add_row(*(Text("\n".join(map(plain, cell))) for cell in cells))
    return table


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _when(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s).astimezone():%Y-%m-%d %H:%M:%S}"
