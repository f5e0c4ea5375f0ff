"""`envoy-ratelimit top`: the keys with the most refusals and the most hits of a running service, live."""

import time

import httpx
from rich.console import Group
from rich.live import Live
from rich.text import Text

from envoy_ratelimit.commands.output import Format, console, print_json, say, table
from envoy_sidecar import admin_client
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_USAGE
from envoy_sidecar.transport.address import Address

_SHADOWED = "shadowed"
_TITLES = {
    "denied": "most refused",
    _SHADOWED: "most let pass by shadow mode",
    "hottest": "most hits",
}
_COLUMNS = ("domain", "rule", "key", "hits", "± at most")


def top(admin: str, form: Format, *, count: int = 20, every_s: float = 0.0) -> int:
    """Print what `/top` of the service at *admin* says, again every *every_s* seconds until interrupted; 2 if it is not there."""
    try:
        data = _ask(admin, count)
        if form == "json":
            print_json(data)
            return EXIT_CLEAN
        if not every_s:
            console().print(_shown(data))
            return EXIT_CLEAN
        with Live(_shown(data), console=console(), auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                live.update(_shown(_ask(admin, count)), refresh=True)
    except KeyboardInterrupt:
        return EXIT_CLEAN
    except (httpx.HTTPError, ValueError) as error:
        say(f"no answer from {admin}: {error}")
        return EXIT_USAGE


def _ask(admin: str, count: int) -> dict[str, list[dict[str, object]]]:
    answer = admin_client.get(Address.parse(admin), f"/top?count={count}")
    answer.raise_for_status()
    data: dict[str, list[dict[str, object]]] = answer.json()
    return data


def _shown(data: dict[str, list[dict[str, object]]]) -> Group:
    parts: list[object] = []
    for which, title in _TITLES.items():
        rows = [
            (top["domain"], top["rule"], top["key"], top["hits"], top["error"]) for top in data.get(which, [])
        ]
        if rows:
            parts.append(table(title, _COLUMNS, rows))
        elif which != _SHADOWED:  # most services are without
            parts.append(Text(f"{title}: nothing yet"))
    return Group(*parts)  # type: ignore[arg-type]
