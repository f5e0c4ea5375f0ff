"""The command `envoy-authz`."""

from typing import NoReturn

from envoy_authz.server import AuthzSidecar
from envoy_authz.settings import DEFAULT_ADMIN, AuthzSettings
from envoy_sidecar import cli
from envoy_sidecar.settings import AdminOption

app = cli.make_app("authz", "External authorization for Envoy: policies that security teams author as files.")


@app.command
def serve(settings: AuthzSettings) -> int:
    """Answer Envoy's authorization checks by the policies in files; what no policy allows is denied."""
    return cli.serve("authz", settings, lambda: AuthzSidecar(settings.policies))


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
