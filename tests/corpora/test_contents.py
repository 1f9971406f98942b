from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from emotion2vec.corpora import contents
from emotion2vec.corpora.contents import combined_key, content_key, content_keys
from emotion2vec.errors import ConfigError


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two files, hashed as if it were an hour later."""
    monkeypatch.setattr(contents.time, "time", lambda: os.stat(tmp_path).st_mtime + 3600)
    paths = [tmp_path / "audio" / name for name in ("a.wav", "b.wav")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are read from now on."""
    read: list[str] = []
    monkeypatch.setattr(contents, "content_key", lambda path: read.append(path.name) or content_key(path))
    return read


def test_unchanged_files_are_read_once(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = hashed(monkeypatch)
    first = content_keys(files, tmp_path / "cache")
    assert first == [content_key(path) for path in files] == content_keys(files)
    read.clear()
    assert content_keys(files, tmp_path / "cache") == first
    assert content_keys(files[::-1], tmp_path / "cache") == first[::-1]
    assert read == []
    assert combined_key(files, tmp_path / "cache") == combined_key(files)


@pytest.mark.parametrize("change", ["size", "content with its time kept", "another file in its place"])
def test_changed_files_are_read_again(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    content_keys(files, tmp_path / "cache")
    times = os.stat(files[0])
    if change == "another file in its place":
        (tmp_path / "new").write_bytes(b"W.wav")
        (tmp_path / "new").replace(files[0])
    else:
        files[0].write_bytes(b"longer than it was" if change == "size" else b"X.wav")
    os.utime(files[0], ns=(times.st_atime_ns, times.st_mtime_ns))
    read = hashed(monkeypatch)
    assert content_keys(files, tmp_path / "cache") == [content_key(path) for path in files]
    assert read == ["a.wav"]


def test_files_that_changed_a_moment_ago_are_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    monkeypatch.setattr(contents.time, "time", lambda: os.stat(path).st_mtime + 1)
    read = hashed(monkeypatch)
    assert content_keys([path, path], tmp_path / "cache") == [content_key(path)] * 2
    assert read == ["a.wav"] * 2
    assert not (tmp_path / "cache").exists()


def test_broken_memories_and_absent_files(files: list[Path], tmp_path: Path) -> None:
    keys = content_keys(files, tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / contents.FOLDER).iterdir()
    for broken in ("{", "[]", json.dumps({str(files[0]): "short"}), json.dumps({str(files[0]): [1, 2, 3, None]})):
        memory.write_text(broken)
        assert content_keys(files, tmp_path / "cache") == keys
    files[0].unlink()
    assert content_keys(files, tmp_path / "cache") == [None, keys[1]]
    assert content_keys([], tmp_path / "cache") == []
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cache .*file: cannot be written"):
        content_keys(files, tmp_path / "file")
