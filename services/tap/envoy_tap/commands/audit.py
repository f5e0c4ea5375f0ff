"""`envoy-tap audit list`: who did what, as the service tells; `audit verify` checks the log where it lies."""

from typing import Annotated

from cyclopts import Parameter, validators

from envoy_sidecar.cli import EXIT_CLEAN
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask
from envoy_tap.commands.output import FormatOption, render, write_json
from envoy_tap.shown import audit_table


def listed(
    *,
    limit: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=1000), help="So many of the last entries.")
    ] = 100,
    form: FormatOption = "text",
    service: Service = LOCAL,
) -> int:
    """List the last entries of the audit log; it takes the role admin."""

    def do(client: SessionClient) -> int:
        found = client.audit(limit)
        if form == "json":
            write_json(found)
        else:
            render(audit_table(found))
        return EXIT_CLEAN

    return ask(service, do)
