"""What a session is to capture, as options say it: one predicate, and the proxies."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from cyclopts import Parameter

from envoy_tap.commands.groups import TARGET
from envoy_tap.commands.output import UsageError, underlined
from envoy_tap.core.predicate import Condition, Expr, Field, Op, PredicateError, all_of, parse, printed

_TEMPLATE = re.compile(r"[*{]")


@Parameter(name="*", group=TARGET)
@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Conditions that all must hold, beside the predicate, and proxies."""

    method: Annotated[str | None, Parameter(help="GET, POST, ….")] = None
    path: Annotated[str | None, Parameter(help="Prefix of the path; * or {name} make it a template.")] = None
    authority: Annotated[str | None, Parameter(help="The host that was asked.")] = None
    header: Annotated[
        tuple[str, ...], Parameter(negative=(), help="NAME=VALUE, or NAME for any value; once for each.")
    ] = ()
    status: Annotated[str | None, Parameter(help="503, or a class such as 5xx.")] = None
    slower_than: Annotated[str | None, Parameter(help="250ms, 1.5s.")] = None
    grpc_method: Annotated[str | None, Parameter(help="pkg.Service/Method.")] = None
    grpc_status: Annotated[str | None, Parameter(help="UNAVAILABLE, or 14.")] = None
    source: Annotated[str | None, Parameter(help="Address or network of the caller.")] = None
    sample: Annotated[str | None, Parameter(help="Share of what fits: 1%.")] = None
    node: Annotated[
        tuple[str, ...], Parameter(negative=(), help="Id of a proxy, * is any text; once for each.")
    ] = ()
    node_cluster: Annotated[
        tuple[str, ...], Parameter(negative=(), help="node.cluster of proxies; once for each.")
    ] = ()
    node_metadata: Annotated[
        tuple[str, ...], Parameter(negative=(), help="NAME=VALUE of node.metadata; once for each.")
    ] = ()

    def predicate(self, typed: str) -> str:
        """Return *typed* and all options as one predicate; raises UsageError where it cannot be read."""
        terms = [read(typed, "the predicate")] if typed.strip() else []
        return printed(all_of(*terms, *self._terms()))

    def nodes(self) -> dict[str, Any]:
        """Return the proxies as the API takes them; raises UsageError."""
        pairs = [_pair(each, "--node-metadata") for each in self.node_metadata]
        return {"ids": list(self.node), "clusters": list(self.node_cluster), "metadata": dict(pairs)}

    def _terms(self) -> Iterator[Expr]:
        for name, value in (
            ("method", self.method),
            ("authority", self.authority),
            ("grpc.method", self.grpc_method),
        ):
            if value is not None:
                yield _said(Condition(Field(name), Op.EQUALS, value), f"--{name.replace('.', '-')}")
        if self.path is not None:
            op = Op.LIKE if _TEMPLATE.search(self.path) else Op.BEGINS
            yield _said(Condition(Field("path"), op, self.path), "--path")
        for each in self.header:
            name, equals, value = each.partition("=")
            field = Field("header", name.lower())
            condition = Condition(field, Op.EQUALS, value) if equals else Condition(field, Op.EXISTS)
            yield _said(condition, "--header")
        for option, value, text in (
            ("--status", self.status, "status={}"),
            ("--slower-than", self.slower_than, "latency>{}"),
            ("--grpc-status", self.grpc_status, "grpc.status={}"),
            ("--source", self.source, "source.address={}"),
            ("--sample", self.sample, "sample({})"),
        ):
            if value is not None:
                yield _checked(partial(parse, text.format(value)), option)


def read(text: str, what: str) -> Expr:
    """Return the predicate *text*; raises UsageError that shows where it cannot be read."""
    try:
        return parse(text)
    except PredicateError as error:
        lines = text.split("\n")
        position = sum(len(line) + 1 for line in lines[: error.line - 1]) + error.column - 1
        hint = f"; {error.hint}" if error.hint else ""
        raise UsageError(
            f"{what} cannot be read: {error.message}{hint}\n{underlined(text, position)}"
        ) from None


def _said(condition: Condition, option: str) -> Expr:
    # Read back, so that an option is checked as the predicate is.
    return _checked(lambda: parse(printed(condition)), option)


def _checked(made: Callable[[], Expr], option: str) -> Expr:
    try:
        return made()
    except PredicateError as error:
        raise UsageError(f"{option}: {error.message}" + (f"; {error.hint}" if error.hint else "")) from None


def _pair(text: str, option: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"{option}: {text!r} is not NAME=VALUE")
    return name, value
