"""The command `envoy-tap`."""

from typing import NoReturn

from envoy_sidecar import cli
from envoy_sidecar.doctor import command as doctor_command
from envoy_sidecar.doctor.options import BootstrapOption, EnvoyOption, FormatOption, IgnoreOption, LeastOption
from envoy_sidecar.settings import AdminOption, SettingsError
from envoy_tap import commands
from envoy_tap.agent.command import agent
from envoy_tap.audit.command import audit
from envoy_tap.console.command import console
from envoy_tap.export_slot import export_slot
from envoy_tap.lint.command import lint
from envoy_tap.settings import DEFAULT_ADMIN, TapSettings

app = cli.make_app("tap", "Tap for Envoy: capture one targeted exchange in clear text.")
app.command(commands.sessions)
app.command(commands.watch)
app.command(console)
app.command(lint)
app.command(agent)
app.command(audit)
app.command(export_slot)


@app.command
def serve(settings: TapSettings) -> int:
    """Serve the tap slot to Envoy, and the API of tap sessions to operators.

    A session begins with `envoy-tap sessions start`; one can also be given here, by --target-… options.
    """
    # Not at the top: it imports all of envoy-data-plane, for which --help should not wait.
    try:
        from envoy_tap.server import TapSidecar, routes_of  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is missing: install the extra `tap`") from None
    return cli.serve("tap", settings, lambda: TapSidecar(settings), routes_of)


@app.command
def doctor(
    *,
    envoy: EnvoyOption = None,
    bootstrap: BootstrapOption = None,
    least: LeastOption = "note",
    ignore: IgnoreOption = (),
    form: FormatOption = "text",
) -> int:
    """Say what in an Envoy's configuration keeps its traffic from being tapped, and how to mend it.

    Exit code 1 for errors or warnings, 2 if there is nothing to look at.
    """
    return doctor_command.doctor(envoy, bootstrap, form, services=("tap",), least=least, ignore=ignore)


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
