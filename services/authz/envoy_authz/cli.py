"""The command `envoy-authz`."""

from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter, validators

from envoy_authz.commands.lint import lint as lint_command
from envoy_authz.commands.output import FormatOption
from envoy_authz.commands.run_tests import run_tests
from envoy_authz.commands.source import Deciding, PathsArgument
from envoy_authz.server import AuthzSidecar
from envoy_authz.settings import DEFAULT_ADMIN, AuthzSettings
from envoy_sidecar import cli
from envoy_sidecar.settings import AdminOption

app = cli.make_app("authz", "External authorization for Envoy: policies that security teams author as files.")


@app.command
def serve(settings: AuthzSettings) -> int:
    """Answer Envoy's authorization checks by the policies in files; what no policy allows is denied."""
    return cli.serve(
        "authz",
        settings,
        lambda: AuthzSidecar.of(settings),
    )


@app.command
def lint(
    paths: PathsArgument,
    /,
    *,
    deciding: Deciding | None = None,
    claim: Annotated[
        tuple[str, ...],
        Parameter(help="A claim that the issuers make; with any, others are findings.", negative=()),
    ] = (),
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Check policies; each finding says file, line and column, and what would be right. Exit code 1 for findings."""
    return lint_command(paths, form, deciding=deciding, claims=claim)


@app.command
def test(
    paths: PathsArgument,
    /,
    *,
    tests: Annotated[
        tuple[Path, ...],
        Parameter(
            help="Files of cases, or folders; without it, the folder tests beside each path.", negative=()
        ),
    ] = (),
    deciding: Deciding | None = None,
    min_coverage: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=100), help="Percent of rules that a case must match."
        ),
    ] = 0.0,
    junit: Annotated[Path | None, Parameter(help="Write the results as JUnit XML.")] = None,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Run the cases of PolicyTest files against policies. Exit code 1 if one fails, or too few rules are matched."""
    return run_tests(paths, tests, form, deciding=deciding, min_coverage=min_coverage, junit_file=junit)


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
