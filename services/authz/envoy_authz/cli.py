"""The command `envoy-authz`."""

from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import Parameter, validators

from envoy_authz.commands.asked import RequestOptions
from envoy_authz.commands.check import AskedService
from envoy_authz.commands.check import check as check_command
from envoy_authz.commands.compare import MOST
from envoy_authz.commands.diff import diff as diff_command
from envoy_authz.commands.explain import explain as explain_command
from envoy_authz.commands.lint import lint as lint_command
from envoy_authz.commands.output import FormatOption
from envoy_authz.commands.replay import replay as replay_command
from envoy_authz.commands.run_tests import run_tests
from envoy_authz.commands.source import Deciding, PathsArgument, PoliciesOption
from envoy_authz.commands.token import TokenOptions
from envoy_authz.commands.token import token as token_command
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
def explain(
    paths: PathsArgument,
    /,
    *,
    request: RequestOptions | None = None,
    deciding: Deciding | None = None,
    every: Annotated[
        bool, Parameter(name="--all", negative=(), help="Show also rules that are about something else.")
    ] = False,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Say how policies decide a request, why, and the smallest change that would turn it around. Exit code 1 if denied."""
    return explain_command(paths, request or RequestOptions(), form, deciding=deciding, every=every)


@app.command
def check(
    *,
    service: AskedService | None = None,
    request: RequestOptions | None = None,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Ask a running service about a request, as Envoy does. Exit code 1 if it is denied, 2 if there is no answer."""
    return check_command(service or AskedService(), request or RequestOptions(), form)


@app.command
def diff(
    old: Annotated[Path, Parameter(help="The policies as they are: a file or a folder.")],
    new: Annotated[Path, Parameter(help="The policies as they are to be.")],
    /,
    *,
    deciding: Deciding | None = None,
    no_new_allows: Annotated[
        bool, Parameter(negative=(), help="Exit code 1 only if something is allowed that was not.")
    ] = False,
    max_requests: Annotated[
        int, Parameter(validator=validators.Number(gte=1), help="How many requests are tried at most.")
    ] = MOST,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Show which requests new policies decide otherwise, what is newly allowed first. Exit code 1 if there are any."""
    return diff_command(old, new, form, deciding=deciding, most=max_requests, no_new_allows=no_new_allows)


@app.command
def replay(
    logs: Annotated[tuple[Path, ...], Parameter(help="Files of the decision log.", negative=())],
    /,
    *,
    policies: PoliciesOption,
    deciding: Deciding | None = None,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Take the decisions of a log again by other policies, and show those that flip. Exit code 1 if there are any."""
    return replay_command(logs, policies, form, deciding=deciding)


@app.command
def token(
    *, options: TokenOptions, form: Annotated[FormatOption, Parameter(name="--format")] = "text"
) -> int:
    """Make a signed token, its key and its JWK Set, for development and tests."""
    return token_command(options, form)


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
