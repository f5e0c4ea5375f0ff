"""The command `envoy-tap`."""

from typing import NoReturn

from envoy_sidecar import cli, collector
from envoy_sidecar.doctor import command as doctor_command
from envoy_sidecar.doctor.options import BootstrapOption, EnvoyOption, FormatOption, IgnoreOption, LeastOption
from envoy_sidecar.settings import AdminOption, SettingsError
from envoy_tap.agent.command import agent
from envoy_tap.audit.command import audit
from envoy_tap.commands.audit import listed
from envoy_tap.commands.export import export
from envoy_tap.commands.export_slot import export_slot
from envoy_tap.commands.nodes import nodes
from envoy_tap.commands.replay import replay
from envoy_tap.commands.sessions import approve, delete, list_, show, stop, watch
from envoy_tap.commands.start import start
from envoy_tap.console.command import console
from envoy_tap.lint.command import lint
from envoy_tap.settings import DEFAULT_ADMIN, TapSettings

app = cli.make_app("tap", "Tap for Envoy: capture one targeted exchange in clear text.")
for _command in (
    start,
    watch,
    show,
    stop,
    approve,
    delete,
    export,
    replay,
    nodes,
    console,
    lint,
    agent,
    export_slot,
    audit,
):
    app.command(_command)
app.command(list_, name="list")
audit.command(listed, name="list")


@app.command
def serve(settings: TapSettings) -> int:
    """Serve the tap slot to Envoy, and the API of tap sessions to operators.

    A session begins with `envoy-tap start`; one can also be given here, by --target-… options.
    """
    # Not at the top: it imports all of envoy-data-plane, for which --help should not wait.
    try:
        with collector.held():
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
