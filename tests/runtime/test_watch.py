"""Changes of configuration files, told by their content."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from envoy_sidecar.config import watch
from envoy_sidecar.config.watch import Change, changes, fingerprint, touched_since


async def following(changing: AsyncIterator[Change]) -> Change:
    return await asyncio.wait_for(anext(changing), 30)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    below = tmp_path / "watched"
    (below / "sub").mkdir(parents=True)
    (below / "a.yaml").write_text("a")
    (below / "sub" / "b.json").write_text("b")
    (below / "notes.txt").write_text("no configuration")
    return below


@pytest.fixture
async def changing(folder: Path) -> AsyncIterator[AsyncIterator[Change]]:
    events = changes([folder], known=fingerprint([folder]))
    yield events
    await events.aclose()


async def test_a_change_names_what_was_added_modified_and_removed(
    folder: Path, changing: AsyncIterator[Change]
) -> None:
    (folder / "a.yaml").write_text("A")
    (folder / "c.yml").write_text("c")
    (folder / "sub" / "b.json").unlink()
    change = await following(changing)
    assert change == Change(
        (str(folder / "c.yml"),), (str(folder / "a.yaml"),), (str(folder / "sub" / "b.json"),)
    )
    assert str(change) == f"added {folder}/c.yml; modified {folder}/a.yaml; removed {folder}/sub/b.json"


async def test_what_changed_before_the_first_look_is_found(
    folder: Path, changing: AsyncIterator[Change]
) -> None:
    (folder / "a.yaml").write_text("A")
    assert (await following(changing)).modified == (str(folder / "a.yaml"),)


async def test_the_same_content_other_files_and_dot_files_are_no_change(
    folder: Path, changing: AsyncIterator[Change]
) -> None:
    waiting = asyncio.ensure_future(following(changing))
    (folder / "a.yaml").write_text("a")
    os.utime(folder / "a.yaml", (1, 1))
    (folder / "notes.txt").write_text("other")
    (folder / ".hidden.yaml").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "c.yaml").write_text("x")
    (folder / "last.yaml").write_text("a sign that all the others were looked at")
    assert await waiting == Change(added=(str(folder / "last.yaml"),))


async def test_a_burst_of_writes_is_one_change(folder: Path, changing: AsyncIterator[Change]) -> None:
    for number in range(200):
        (folder / f"{number}.yaml").write_text("x")
    assert len((await following(changing)).added) == 200
    (folder / "last.yaml").write_text("x")
    assert await following(changing) == Change(added=(str(folder / "last.yaml"),))


def configmap(volume: Path, version: str, **files: str) -> None:
    """Publish files as the kubelet does: a new folder, and a link to it swapped by a rename."""
    data = volume / f"..{version}"
    data.mkdir()
    for name, text in files.items():
        (data / f"{name}.yaml").write_text(text)
    new = volume / "..data_tmp"
    new.symlink_to(data.name)
    new.replace(volume / "..data")
    for name in files:
        link = volume / f"{name}.yaml"
        if not link.is_symlink():
            link.symlink_to(f"..data/{name}.yaml")


@pytest.mark.parametrize("watched", ["folder", "file"])
async def test_the_swap_of_a_configmap_is_a_change_each_time(tmp_path: Path, watched: str) -> None:
    configmap(tmp_path, "v1", policy="one", other="same")
    policy = tmp_path / "policy.yaml"
    paths = [tmp_path] if watched == "folder" else [policy]
    events = changes(paths, known=fingerprint(paths))
    for version in ("v2", "v3"):
        configmap(tmp_path, version, policy=version, other="same")
        assert await following(events) == Change(modified=(str(policy),))
        assert policy.read_text() == version
    await events.aclose()


async def test_a_file_that_is_replaced_by_a_rename_is_seen_again_and_again(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("0")
    events = changes([path], known=fingerprint([path]))
    for number in range(1, 4):
        new = tmp_path / "new"
        new.write_text(str(number))
        new.replace(path)
        assert await following(events) == Change(modified=(str(path),))
    await events.aclose()


async def test_a_folder_that_vanishes_and_comes_back_is_watched_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_TICKS_PER_LOOK", 1)
    folder = tmp_path / "policies"
    folder.mkdir()
    path = folder / "a.yaml"
    path.write_text("a")
    events = changes([folder], known=fingerprint([folder]))
    path.unlink()
    folder.rmdir()
    gone = await following(events)
    assert str(path) in gone.removed
    folder.mkdir()
    path.write_text("a")
    back = await following(events)
    assert str(path) in back.added
    await events.aclose()


async def test_without_file_events_it_looks_now_and_then(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_events(*_paths: Path, **_options: object) -> AsyncIterator[object]:
        raise OSError("inotify watch limit reached")
        yield

    monkeypatch.setattr(watch, "awatch", no_events)
    monkeypatch.setattr(watch, "_TICK_MS", 1)
    events = changes([folder], known=fingerprint([folder]))
    (folder / "a.yaml").write_text("A")
    assert (await following(events)).modified == (str(folder / "a.yaml"),)
    assert caplog.text.count("inotify watch limit reached") == 1
    await events.aclose()


def test_only_files_whose_status_changed_are_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    original = Path.read_bytes

    def recorded(path: Path) -> bytes:
        read.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", recorded)
    seen: dict[str, watch.Seen] = {}
    first = fingerprint([folder], seen)
    assert read == ["a.yaml", "b.json"]
    (folder / "a.yaml").write_text("longer")
    second = fingerprint([folder], seen)
    assert read == ["a.yaml", "b.json", "a.yaml"]
    assert [name for name in first if first[name] != second[name]] == [str(folder / "a.yaml")]


def test_links_are_followed_but_not_in_a_circle(folder: Path) -> None:
    (folder / "circle").symlink_to(folder)
    (folder / "sub" / "up").symlink_to(folder)
    (folder / "dangling.yaml").symlink_to(folder / "nowhere")
    hashes = fingerprint([folder])
    assert {Path(name).name for name in hashes} == {"a.yaml", "b.json", "dangling.yaml"}
    assert hashes[str(folder / "dangling.yaml")] == b""


def test_a_file_that_is_named_is_watched_whatever_its_name(tmp_path: Path) -> None:
    key = tmp_path / ".key.pem"
    before = fingerprint([key])
    key.write_text("key")
    assert fingerprint([key]) != before


async def test_no_error_of_the_watcher_and_no_look_that_fails_is_the_last(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def no_events(*_paths: Path, **_options: object) -> AsyncIterator[object]:
        raise ExceptionGroup("unhandled", [ValueError("not UTF-8")])
        yield

    original, looks = watch.fingerprint, 0

    def failing(paths: list[Path], seen: dict[str, watch.Seen]) -> dict[str, bytes]:
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ValueError("a look that fails")
        return original(paths, seen)

    known = fingerprint([folder])
    monkeypatch.setattr(watch, "awatch", no_events)
    monkeypatch.setattr(watch, "fingerprint", failing)
    monkeypatch.setattr(watch, "_TICK_MS", 1)
    events = changes([folder], known=known)
    (folder / "a.yaml").write_text("A")
    assert (await following(events)).modified == (str(folder / "a.yaml"),)
    assert "a look that fails" in caplog.text
    assert caplog.text.count("not UTF-8") == 1
    await events.aclose()


def test_what_was_touched_since_a_moment_is_told_by_files_folders_and_links(tmp_path: Path) -> None:
    configmap(tmp_path, "v1", policy="one")
    configmap(tmp_path, "v2", policy="two")
    paths = [[tmp_path], [tmp_path / "policy.yaml"]]
    time.sleep(0.1)
    moment_ns = time.time_ns()
    time.sleep(0.01)
    assert not any(touched_since(path, moment_ns) for path in paths)
    link = tmp_path / "..data_tmp"
    link.symlink_to("..v1")
    link.replace(tmp_path / "..data")
    assert all(touched_since(path, moment_ns) for path in paths)


def test_a_huge_file_is_told_apart_without_being_read(tmp_path: Path) -> None:
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(64 * 1024**3)
    before = fingerprint([huge])
    with huge.open("ab") as file:
        file.truncate(65 * 1024**3)
    assert fingerprint([huge]) != before
