"""What keeps the interpreter's own pauses away from the requests."""

import gc
import importlib
import signal
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import pytest

from envoy_sidecar import cli, collector, lifecycle
from envoy_sidecar.config.documents import read_documents
from envoy_sidecar.config.findings import InvalidConfigurationError
from tests.runtime.echo_service import EchoSettings, EchoSidecar


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    interval, hangup = sys.getswitchinterval(), signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, hangup)
    sys.setswitchinterval(interval)
    gc.unfreeze()
    gc.enable()


def test_what_is_made_while_it_is_held_is_old_afterwards() -> None:
    collector.settle()
    with collector.held():
        assert not gc.isenabled()
        made = [[number] for number in range(5000)]
        # Another thread may have let go of something meanwhile.
        assert gc.get_count()[0] >= 4000
    assert gc.isenabled()
    assert gc.get_count()[0] < 4000
    assert len(made) == 5000


def test_what_is_garbage_before_is_not_made_old() -> None:
    collector.settle()
    garbage = Parent()
    gone = weakref.ref(garbage)
    del garbage
    with collector.held():
        assert gone() is None


@pytest.mark.parametrize("service", ["authz", "ratelimit", "tap"])
def test_what_a_command_imports_is_not_walked_meanwhile(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    program = importlib.import_module(f"envoy_{service}.__main__")
    enabled: list[bool] = []

    class Watched(ModuleType):
        def __getattr__(self, name: str) -> object:
            enabled.append(gc.isenabled())
            return print if name == "main" else super().__getattribute__(name)

    monkeypatch.setitem(sys.modules, f"envoy_{service}.cli", Watched("cli"))
    importlib.reload(program)
    assert enabled
    assert not any(enabled)
    assert gc.isenabled()
    monkeypatch.undo()
    importlib.reload(program)


@pytest.mark.parametrize("text", ["a: [1, {b: c}]\n---\nd: e\n", "a: [\n", "%YAML 1.1\n---\na: b\n"])
def test_reading_a_file_leaves_nothing_for_the_collector(text: str) -> None:
    def read() -> None:
        with suppress(InvalidConfigurationError):
            read_documents(text, "a.yaml")

    read()
    collector.settle()
    gc.disable()
    read()
    assert gc.collect() == 0


class Parent:
    """One whose child knows it."""

    def __init__(self) -> None:
        self.child = [self]


def test_it_collects_again_after_a_failure() -> None:
    with pytest.raises(ValueError, match="a fault"), collector.held():
        raise ValueError("a fault")
    assert gc.isenabled()


async def test_a_reload_runs_without_the_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "echo.yaml"
    config.write_text("prefix: hello\n")
    settings = EchoSettings(config=config)
    sidecar = EchoSidecar(settings)
    collecting: list[bool] = []

    def reload() -> str:
        collecting.append(gc.isenabled())
        return "done"

    monkeypatch.setattr(sidecar, "reload", reload)
    await lifecycle.Process(sidecar, settings).reload("test")
    assert collecting == [False]
    assert gc.isenabled()


def test_a_thread_hands_the_interpreter_over_before_envoy_gives_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def make() -> EchoSidecar:
        raise InvalidConfigurationError([])

    assert cli.serve("echo", EchoSettings(config=tmp_path), make) == 2
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    assert "not started" in capsys.readouterr().err
