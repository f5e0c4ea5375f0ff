"""`envoy-tap console`: where the page is."""

import sys
import webbrowser
from typing import Annotated

import httpx
from cyclopts import Parameter

from envoy_sidecar import admin_client
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.settings import AdminOption
from envoy_sidecar.transport.address import Address
from envoy_tap.settings import DEFAULT_ADMIN

_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- asked for, not listened on


def console(
    *,
    open_: Annotated[bool, Parameter(name="--open", help="Open it in this machine's browser, too.")] = False,
    admin: AdminOption = DEFAULT_ADMIN,
) -> int:
    """Print the address of the web console of a running service; see docs/tap-console.md."""
    address = Address.parse(admin)
    if address.is_unix:
        sys.stderr.write(f"envoy-tap: no browser reaches {address}; serve with --admin HOST:PORT\n")
        return EXIT_USAGE
    address = Address(_ANY.get(address.host, address.host), address.port)
    try:
        admin_client.get(address, "/livez")
    except httpx.HTTPError as error:
        sys.stderr.write(f"envoy-tap: no answer from {address}: {error}; start it with envoy-tap serve\n")
        return EXIT_USAGE
    url = f"{address.url}/"
    sys.stdout.write(f"{url}\n")
    if open_ and not webbrowser.open(url):
        sys.stderr.write("envoy-tap: there is no browser here; open the address where there is one\n")
        return EXIT_FINDINGS
    return EXIT_CLEAN
