"""All that the service is configured by in files: the policies, and the file of `--identity`."""

from collections.abc import Sequence
from pathlib import Path

from envoy_authz.authenticators.configured import IdentitySettings
from envoy_authz.config.identity import load_identity
from envoy_authz.config.load import LoadedPolicies, load_policies
from envoy_authz.core import Options
from envoy_sidecar.config.findings import Finding, InvalidConfigurationError


def load_all(
    paths: Sequence[Path], identity: Path | None, options: Options
) -> tuple[LoadedPolicies, IdentitySettings]:
    """Read the policies that *paths* name, and *identity* if there is one.

    Raises InvalidConfigurationError with the findings of both when either can't be used.
    """
    findings: list[Finding] = []
    policies: LoadedPolicies | None = None
    settings: IdentitySettings | None = None
    try:
        policies = load_policies(
            paths, normalization=options.normalization, root_namespace=options.root_namespace
        )
        findings.extend(policies.warnings)
    except InvalidConfigurationError as error:
        findings.extend(error.findings)
    try:
        settings = IdentitySettings() if identity is None else load_identity(identity)
    except InvalidConfigurationError as error:
        findings.extend(error.findings)
    if policies is None or settings is None:
        raise InvalidConfigurationError(findings)
    return policies, settings
