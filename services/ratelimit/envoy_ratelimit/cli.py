"""The command `envoy-ratelimit`."""

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NoReturn

from cyclopts import App, ArgumentCollection, Parameter, Token, validators
from starlette.routing import BaseRoute

from envoy_ratelimit import http
from envoy_ratelimit.commands.buckets import buckets
from envoy_ratelimit.commands.check import AskedService
from envoy_ratelimit.commands.check import check as check_command
from envoy_ratelimit.commands.descriptors import (
    DescriptorArguments,
    OverrideOption,
    read_descriptors,
    read_override,
)
from envoy_ratelimit.commands.explain import explain as explain_command
from envoy_ratelimit.commands.lint import lint as lint_command
from envoy_ratelimit.commands.migrate import migrate as migrate_command
from envoy_ratelimit.commands.output import FormatOption
from envoy_ratelimit.commands.source import LimitSource, SharedStore
from envoy_ratelimit.commands.top import top as top_command
from envoy_ratelimit.commands.uncounted import ServiceAdminOption
from envoy_ratelimit.migrate import notes, translate
from envoy_ratelimit.options import MergeOption
from envoy_ratelimit.server import RatelimitSidecar
from envoy_ratelimit.settings import DEFAULT_ADMIN, RatelimitSettings
from envoy_sidecar import cli
from envoy_sidecar.settings import AdminOption
from envoy_sidecar.sidecar import Sidecar

_OPTIONS = frozenset(field.name for field in fields(RatelimitSettings))
_SOURCES = frozenset({"--config", "--config-xds"})
DomainOption = Annotated[str, Parameter(help="The domain of Envoy's rate limit filter.")]

app = cli.make_app("ratelimit", "Global rate limits for Envoy: token buckets in memory or in Redis.")


def _reference_environment(_app: App, _commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give options that neither the command line nor our own variables set what the reference's variables mean."""
    given = {argument.name for argument in arguments if argument.tokens}
    for mapped in translate(os.environ, _OPTIONS):
        name = f"--{mapped.option.replace('_', '-')}"
        if name in given or (name in _SOURCES and given & _SOURCES):
            continue
        for argument in arguments:
            if argument.name == name:
                source = mapped.variables[0] if mapped.variables else "default of the reference"
                for place, value in enumerate(mapped.values):
                    argument.append(Token(keyword=source, value=value, source="reference", index=place))


app.config = (*app.config, _reference_environment)


@app.command
def serve(settings: RatelimitSettings | None = None) -> int:
    """Answer Envoy's rate limit requests by limits in files or from a control plane; what no limit matches passes."""
    chosen = settings or RatelimitSettings()
    said = notes(translate(os.environ, _OPTIONS))
    return cli.serve("ratelimit", chosen, lambda: RatelimitSidecar(chosen, said), _routes, http.worker_routes)


def _routes(sidecar: Sidecar) -> Sequence[BaseRoute]:
    return http.routes(sidecar) if isinstance(sidecar, RatelimitSidecar) else ()


@app.command
def lint(
    paths: Annotated[tuple[Path, ...], Parameter(help="Limit files, or folders of them.", negative=())],
    /,
    *,
    merge_domains: MergeOption = False,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Check limit files; each finding says file, line and column, and what would be right. Exit code 1 for findings."""
    return lint_command(paths, form, merge=merge_domains)


@app.command
def schema() -> int:
    """Print the JSON Schema of limit files, by which an editor completes and checks them."""
    sys.stdout.write(files("envoy_ratelimit.config").joinpath("limits.schema.json").read_text("utf-8"))
    return cli.EXIT_CLEAN


@app.command
def explain(
    descriptor: DescriptorArguments,
    /,
    *,
    source: LimitSource,
    store: SharedStore | None = None,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Say which limit holds for a descriptor, why no other does, and with --store what is left of it."""
    return explain_command(source, read_descriptors(descriptor), store or SharedStore(), form)


@app.command
def check(
    descriptor: DescriptorArguments,
    /,
    *,
    domain: DomainOption,
    service: AskedService | None = None,
    admin: ServiceAdminOption = "",
    peek: Annotated[bool, Parameter(negative=(), help="Charge nothing.")] = False,
    hits: Annotated[
        int | None,
        Parameter(
            validator=validators.Number(gte=0, lte=2**32),
            help="What it costs; 1 unless given.",
        ),
    ] = None,
    override: OverrideOption = "",
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Ask a running service as Envoy does. Exit code 1 if it is over a limit, 2 if there is no answer."""
    cost = 0 if peek else hits
    return check_command(
        service or AskedService(),
        domain,
        read_descriptors(descriptor),
        form,
        hits=cost,
        override=read_override(override),
        admin=admin,
    )


@app.command
def get(
    descriptor: DescriptorArguments,
    /,
    *,
    source: LimitSource,
    store: SharedStore | None = None,
    override: OverrideOption = "",
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Show what is in the bucket of a descriptor."""
    return buckets(
        source, read_descriptors(descriptor), store or SharedStore(), form, override=read_override(override)
    )


@app.command
def reset(
    descriptor: DescriptorArguments,
    /,
    *,
    source: LimitSource,
    store: SharedStore | None = None,
    override: OverrideOption = "",
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Fill the bucket of a descriptor, whatever it owes."""
    return buckets(
        source,
        read_descriptors(descriptor),
        store or SharedStore(),
        form,
        reset=True,
        override=read_override(override),
    )


@app.command
def adjust(
    descriptor: DescriptorArguments,
    /,
    *,
    source: LimitSource,
    store: SharedStore | None = None,
    by: Annotated[int, Parameter(help="Hits to put into the bucket, or, below 0, to take out of it.")],
    override: OverrideOption = "",
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Put hits into the bucket of a descriptor, or take some out. Exit code 1 if that was not done; it says why."""
    return buckets(
        source,
        read_descriptors(descriptor),
        store or SharedStore(),
        form,
        cost=-by,
        override=read_override(override),
    )


@app.command
def top(
    *,
    admin: AdminOption = DEFAULT_ADMIN,
    count: Annotated[
        int, Parameter(validator=validators.Number(gte=1, lte=http.MAX_TOP), help="How many of each.")
    ] = 20,
    every: Annotated[
        float,
        Parameter(
            validator=validators.Number(gte=0, lte=3600), help="Seconds between two looks; 0: one look."
        ),
    ] = 0.0,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Show the most refused and the hottest keys of a running service, and those that only shadow mode let pass."""
    return top_command(admin, form, count=count, every_s=every)


@app.command
def migrate(
    *,
    env_file: Annotated[
        Path | None, Parameter(help="NAME=VALUE lines, instead of this process's environment.")
    ] = None,
    form: Annotated[FormatOption, Parameter(name="--format")] = "text",
) -> int:
    """Show what the environment of the Go service maps to, and what differs. Exit code 1 if something does."""
    return migrate_command(os.environ, _OPTIONS, form, env_file=env_file)


@app.command
def health(*, admin: AdminOption = DEFAULT_ADMIN) -> int:
    """Ask a running service whether it is ready; the exit code is 0 if it is, else 1."""
    return cli.health(admin)


def main() -> NoReturn:
    """Run the command line and exit."""
    cli.run(app)
