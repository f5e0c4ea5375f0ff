"""`envoy-tap nodes`: the Envoys that fetch their slot from the service, and what became of it."""

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS
from envoy_tap.client import SessionClient
from envoy_tap.commands.asking import LOCAL, Service, ask
from envoy_tap.commands.output import FormatOption, note, render, write_json
from envoy_tap.shown import nodes_table, plain


def nodes(*, form: FormatOption = "text", service: Service = LOCAL) -> int:
    """List connected Envoys: by which driver they are tapped, their sessions, and whether they took their slot.

    Exit code 1 if one has refused it; Envoy's own words follow the table.
    """

    def do(client: SessionClient) -> int:
        found = client.nodes()
        refused = [each for each in found if each.get("nack") or each.get("problem")]
        if form == "json":
            write_json(found)
        else:
            render(nodes_table(found))
            for each in refused:
                note(plain(f"{each['id']}: {each.get('nack') or each.get('problem')}"))
            if not found:
                note("no Envoy is connected; `envoy-tap doctor` says what one needs")
        return EXIT_FINDINGS if refused else EXIT_CLEAN

    return ask(service, do)
