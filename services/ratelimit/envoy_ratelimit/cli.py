"""The command `envoy-ratelimit`."""

from typing import NoReturn

from envoy_ratelimit.server import RatelimitSidecar
from envoy_ratelimit.settings import DEFAULT_ADMIN, RatelimitSettings
from envoy_sidecar import cli
from envoy_sidecar.settings import AdminOption

app = cli.make_app("ratelimit", "Global rate limits for Envoy: token buckets in memory or in Redis.")


@app.command
def serve(settings: RatelimitSettings) -> int:
    """Answer Envoy's rate limit requests by the limits in files; what no limit matches passes."""
    return cli.serve("ratelimit", settings, lambda: RatelimitSidecar(settings))


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
