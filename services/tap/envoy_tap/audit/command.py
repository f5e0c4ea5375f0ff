"""The command `envoy-tap audit`: the log of who did what, shown and checked where it lies."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.config.findings import Finding, as_json
from envoy_tap.audit import AUDIT_KEY
from envoy_tap.audit.head import Head
from envoy_tap.audit.log import FILE_NAME, HEAD_FILE_NAME
from envoy_tap.audit.verify import verified
from envoy_tap.storage.keys import FILE_NAME as KEY_FILE_NAME
from envoy_tap.storage.keys import read_keys

audit = App(name="audit", help="List the entries of the audit log, or check it.")


@audit.command
def verify(
    *,
    data: Annotated[Path, Parameter(help="The folder that `serve` was given.")],
    key_file: Annotated[
        Path | None, Parameter(help="The key that `serve` was given; by default DATA/tap.key.")
    ] = None,
    end: Annotated[
        str | None,
        Parameter(help="The hash of an entry that is known from elsewhere; it must still be in the log."),
    ] = None,
    form: Annotated[
        Literal["text", "json"], Parameter(name="--format", help="text for people, json for programs.")
    ] = "text",
) -> int:
    """Say what was changed in the audit log since it was written; the exit code is 0 if nothing was, else 1.

    It prints the number and hash of the last entry: kept elsewhere, and given as --end later, they show that nothing up
    to there is gone. Run it while the service is up or down.
    """
    try:
        keys = read_keys(key_file or data / KEY_FILE_NAME, make=False)
        findings, head = _checked(data, keys.all_derived(AUDIT_KEY), end)
    except OSError as error:
        sys.stderr.write(f"envoy-tap: {error}\n")
        return EXIT_USAGE
    if form == "json":
        print(as_json(findings))  # noqa: T201 - it is what the command gives
    else:
        for finding in findings:
            print(finding)  # noqa: T201
        print(f"{head.seq} entries, the last has the hash {head.hash}")  # noqa: T201
    return EXIT_FINDINGS if findings else EXIT_CLEAN


def _checked(data: Path, keys: Sequence[bytes], end: str | None) -> tuple[Sequence[Finding], Head]:
    found = list(verified(data / FILE_NAME, data / HEAD_FILE_NAME, keys, end))
    head = next(each for each in found if isinstance(each, Head))
    return [each for each in found if isinstance(each, Finding)], head
