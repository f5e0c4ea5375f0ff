"""The command: read, examine, print."""

import sys
from collections.abc import Sequence
from pathlib import Path

from envoy_sidecar.cli import EXIT_CLEAN, EXIT_FINDINGS, EXIT_USAGE
from envoy_sidecar.doctor import diagnosis
from envoy_sidecar.doctor.diagnosis import SERVICES, SEVERITIES, Service, Severity
from envoy_sidecar.doctor.examine import examine
from envoy_sidecar.doctor.options import Format
from envoy_sidecar.doctor.source import SourceError, from_admin, from_file


def doctor(
    envoy: str | None,
    bootstrap: Path | None,
    form: Format,
    *,
    services: Sequence[Service] = (),
    least: Severity = "note",
    ignore: Sequence[str] = (),
) -> int:
    """Print what is found in a running *envoy* or a *bootstrap* file, down to the severity *least*.

    Returns 1 if there is an error or a warning, 2 if there is nothing to look at.
    """
    if (envoy is None) == (bootstrap is None):
        sys.stderr.write("give one of --envoy http://HOST:PORT and --bootstrap FILE\n")
        return EXIT_USAGE
    try:
        configuration = from_file(bootstrap) if bootstrap is not None else from_admin(str(envoy))
        found = examine(configuration, services, ignore)
    except SourceError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USAGE
    shown = [each for each in found if SEVERITIES.index(each.severity) <= SEVERITIES.index(least)]
    if form == "json":
        sys.stdout.write(diagnosis.as_json(shown, live=configuration.live) + "\n")
    else:
        for each in shown:
            sys.stdout.write(each.as_text(live=configuration.live) + "\n\n")
        sys.stdout.write(diagnosis.summary(found, services or SERVICES) + "\n")
    return EXIT_FINDINGS if any(each.severity != "note" for each in shown) else EXIT_CLEAN
