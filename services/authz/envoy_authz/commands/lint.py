"""`envoy-authz lint`: what is wrong with policies, and what in them can't be meant, before a service reads them."""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple
from pathlib import Path

from envoy_authz.commands.advice import Advice, advise
from envoy_authz.commands.output import Format, say
from envoy_authz.commands.places import Places
from envoy_authz.commands.source import Deciding
from envoy_authz.commands.verdicts import all_rules, contradictions, hidden, unissued
from envoy_authz.config import LoadedPolicies
from envoy_authz.config.whole import load_all
from envoy_authz.core.policy import Policy
from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError, as_json, how_many


def lint(
    paths: Sequence[Path], form: Format, *, deciding: Deciding | None = None, claims: Sequence[str] = ()
) -> int:
    """Print the findings of all files that *paths* name; return 0 if there is none, 2 if a path is not there.

    *claims* are those that the issuers are known to make, beside the registered ones; none means that any may be.
    """
    if not paths:
        return EXIT_USAGE
    findings, summary = _findings(paths, deciding or Deciding(), frozenset(claims))
    if form == "json":
        sys.stdout.write(as_json(findings) + "\n")
    else:
        for finding in findings:
            sys.stdout.write(f"{finding}\n")
        say(summary if not findings else how_many(len(findings), "finding"))
    if not all(map(os.path.exists, paths)):
        return EXIT_USAGE
    return EXIT_FINDINGS if findings else EXIT_CLEAN


def _findings(
    paths: Sequence[Path], deciding: Deciding, claims: frozenset[str]
) -> tuple[Sequence[Finding], str]:
    options = deciding.options
    try:
        loaded, _ = load_all(paths, deciding.identity, options)
    except InvalidConfigurationError as error:
        return error.findings, ""
    findings = [*loaded.warnings, *judge(loaded, Places(loaded.documents), options.root_namespace, claims)]
    findings.sort(key=lambda finding: astuple(finding.position))
    rules = how_many(sum(len(policy.rules) for policy in loaded.policies), "rule")
    return findings, f"{rules} in {how_many(len(loaded.policies), 'policy', 'policies')}: clean"


def judge(
    loaded: LoadedPolicies, places: Places, root_namespace: str, claims: frozenset[str]
) -> Iterator[Finding]:
    """Yield what is suspicious about policies that can be used."""
    for policy in loaded.policies:
        for advice in advise(policy):
            yield _at(places, policy, advice)
    rules = all_rules(loaded.policies)
    for one in rules:
        found = list(contradictions(one.rule, one.number, one.policy.action))
        needless = None if found else hidden(one, rules, places, root_namespace)
        found.extend([] if needless is None else [needless])
        found.extend(unissued(one.rule, one.number, loaded.authentications, claims))
        for advice in found:
            yield _at(places, one.policy, advice)


def _at(places: Places, policy: Policy, advice: Advice) -> Finding:
    return places.finding(policy, *advice)
