"""The lint before anything is sent to a proxy, as the last gate: a resource that would abort Envoy never leaves."""

import betterproto2

from envoy_sidecar.config.findings import Finding
from envoy_tap.lint.fields import tree
from envoy_tap.lint.rules import check


class PreflightError(Exception):
    """A configuration that must not be sent; `findings` say why."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = tuple(findings)
        super().__init__("; ".join(f"{each.message} ({each.path})" for each in findings))


def checked(message: betterproto2.Message, *, has_native_sink: bool = False) -> None:
    """Raise PreflightError if a proxy would abort on *message*, or refuse it."""
    document = tree(message.to_dict(), type(message).__name__)
    found = check(document, has_native_sink=has_native_sink)
    errors = [each for each in found if each.severity == "error"]
    if errors:
        raise PreflightError(errors)
