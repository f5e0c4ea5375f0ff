"""When an end-to-end test fails, its report holds what the programs said."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONFTEST = "from tests.e2e.conftest import *  # noqa: F403\nfrom tests.e2e.conftest import pytest_runtest_makereport\n"
SPEAKER = "import time; print('the reason stands here', flush=True); time.sleep(600)"
FAILING = f"""
import sys
import pytest

def speak(processes):
    processes.start("speaker", [sys.executable, "-c", {SPEAKER!r}]).until_logged("reason")

@pytest.fixture
def broken(processes):
    speak(processes)
    raise RuntimeError("boom")

@pytest.fixture(scope="module")
def speaker(of_module):
    speak(of_module)

@pytest.fixture(scope="session")
def old_speaker(shared):
    speak(shared)
"""


@pytest.mark.parametrize(
    "test",
    [
        "def test_it(processes):\n    speak(processes)\n    assert False",
        "def test_it(broken):\n    pass",
        "def test_it(speaker):\n    assert False",
        "def test_it(old_speaker):\n    assert False",
    ],
    ids=["in the test", "in its setup", "of the module", "of the session"],
)
def test_a_failing_test_shows_the_logs(tmp_path: Path, test: str) -> None:
    report = run(tmp_path, test)
    assert report.returncode == 1, report.stdout
    assert "log of speaker" in report.stdout
    assert report.stdout.count("the reason stands here\n") == 1


def test_a_passing_test_does_not(tmp_path: Path) -> None:
    report = run(tmp_path, "def test_it(speaker):\n    pass")
    assert report.returncode == 0, report.stdout
    assert "the reason stands here" not in report.stdout


def run(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(f"{FAILING}\n{test}\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder / 'temp'}",
        str(folder),
    ]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
