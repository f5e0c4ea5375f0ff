"""`envoy-tap lint`: what in a configuration would make Envoy abort or refuse it, before any Envoy reads it."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.config.documents import read_documents
from envoy_sidecar.config.files import read_files
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, as_json, how_many
from envoy_tap.lint.rules import check


def lint(
    *files: Annotated[Path, Parameter(help="Files or folders of YAML or JSON.")],
    native_sink: Annotated[
        bool, Parameter(help="It is for an Envoy that has the streaming_grpc sink; no stock build has it.")
    ] = False,
    form: Annotated[
        Literal["text", "json"], Parameter(name="--format", help="text for people, json for programs.")
    ] = "text",
) -> int:
    """Check tap configuration: a bootstrap, a filter, an ECDS resource, or the body of POST /tap.

    Each finding says file, line and column, whether Envoy would abort on it or refuse it, and what would be right. Exit
    code 1 for findings, 2 for what cannot be read.
    """
    sources = read_files(files, "configuration", without_any="error")
    unreadable, findings, documents = list(sources.findings), [], 0
    for path, text in sources.texts.items():
        try:
            for document in read_documents(text, str(path)):
                documents += 1
                findings += check(document, has_native_sink=native_sink)
        except InvalidConfigurationError as error:
            unreadable += error.findings
    _show([*unreadable, *findings], form, documents)
    if unreadable or not files:
        return EXIT_USAGE
    return EXIT_FINDINGS if findings else EXIT_CLEAN


def _show(findings: Sequence[Finding], form: str, documents: int) -> None:
    if form == "json":
        sys.stdout.write(as_json(findings) + "\n")
        return
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    said = how_many(len(findings), "finding") if findings else "clean" if documents else "nothing to check"
    sys.stderr.write(f"{how_many(documents, 'document')}: {said}\n")
