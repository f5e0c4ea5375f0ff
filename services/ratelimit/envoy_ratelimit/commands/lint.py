"""`envoy-ratelimit lint`: what is wrong with limit files, before a service reads them."""

import os
import sys
from pathlib import Path

from envoy_ratelimit.commands.output import Format, say
from envoy_ratelimit.config import load_rules
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, as_json, how_many


def lint(paths: tuple[Path, ...], form: Format, *, merge: bool = False) -> int:
    """Print the findings of all files that *paths* name; return 0 if there is none, 2 if a path is not there."""
    if not paths:
        return EXIT_USAGE
    findings, summary = _findings(paths, merge=merge)
    if form == "json":
        sys.stdout.write(as_json(findings) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding}\n")
        say(summary if not findings else how_many(len(findings), "finding"))
    if not all(map(os.path.exists, paths)):
        return EXIT_USAGE
    return EXIT_FINDINGS if findings else EXIT_CLEAN


def _findings(paths: tuple[Path, ...], *, merge: bool) -> tuple[tuple[Finding, ...], str]:
    try:
        loaded = load_rules(paths, strict=True, merge=merge)
    except InvalidConfigurationError as error:
        return error.findings, ""
    rules = loaded.rules
    limits, domains = how_many(len(rules.rules), "limit"), how_many(len(rules.domains), "domain")
    return loaded.warnings, f"{limits} in {domains}: clean"
