"""The command `envoy-sidecars`: what is about all three services."""

from typing import Annotated, NoReturn

from cyclopts import Parameter

from envoy_sidecar import cli
from envoy_sidecar.doctor import command
from envoy_sidecar.doctor.diagnosis import Service
from envoy_sidecar.doctor.options import BootstrapOption, EnvoyOption, FormatOption, IgnoreOption, LeastOption

app = cli.make_app("sidecars", "What is about authz, ratelimit and tap together.")


@app.command
def doctor(
    *,
    envoy: EnvoyOption = None,
    bootstrap: BootstrapOption = None,
    service: Annotated[
        tuple[Service, ...], Parameter(help="Look at this service only; it has to be there.", negative=())
    ] = (),
    least: LeastOption = "note",
    ignore: IgnoreOption = (),
    form: FormatOption = "text",
) -> int:
    """Say what in an Envoy's configuration is missing, risky or slow for the services, and how to mend it.

    Exit code 1 for errors or warnings, 2 if there is nothing to look at.
    """
    return command.doctor(envoy, bootstrap, form, services=service, least=least, ignore=ignore)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
