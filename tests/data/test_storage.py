from __future__ import annotations

import errno
from pathlib import Path

import fsspec
import pytest

from emotion2vec.data import storage
from emotion2vec.data.storage import Range, Unreachable, read_file, read_ranges, storage_lost, with_retries
from emotion2vec.errors import ConfigError, StorageError


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that only passes by waiting, and the waits."""
    slept: list[float] = []
    monkeypatch.setattr(storage.time, "sleep", slept.append)
    monkeypatch.setattr(storage.time, "monotonic", lambda: sum(slept))
    return slept


def failing(times: int):
    left = [times]

    def read() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise Unreachable("disk gone")
        return "read"

    return read


def test_a_hiccup_is_read_through(waits: list[float]) -> None:
    assert with_retries(failing(2)) == "read"
    assert waits == [0.5, 1]


def test_an_outage_is_an_error(waits: list[float]) -> None:
    with pytest.raises(StorageError, match="disk gone"):
        with_retries(failing(99))
    assert 3 <= sum(waits) <= 4


def test_other_errors_are_not_retried(waits: list[float]) -> None:
    with pytest.raises(ZeroDivisionError):
        with_retries(lambda: 1 // 0)
    assert waits == []


@pytest.mark.parametrize("kind", ["local", "memory", "cached"])
def test_ranges(tmp_path: Path, kind: str) -> None:
    data = bytes(range(256)) * 8
    local, url = tmp_path / "a" / "x.bin", "memory://storage-test/a/x.bin"
    local.parent.mkdir()
    local.write_bytes(data)
    with fsspec.open(url, "wb") as stream:
        stream.write(data)
    path = {"local": str(local), "memory": url, "cached": f"simplecache::{url}"}[kind]
    assert read_file(path) == data
    assert read_ranges([Range(path, 3, 9), Range(path, 1_000, 2_048), Range(path, 0, 0)]) == [
        data[3:9],
        data[1_000:],
        b"",
    ]
    with pytest.raises(Unreachable, match=r"x\.bin: ends before byte 2049"):
        read_ranges([Range(path, 2_000, 2_049)])
    missing = path.replace("x.bin", "none.bin")
    with pytest.raises(Unreachable, match=r"none\.bin"):
        read_ranges([Range(missing, 0, 1)])
    with pytest.raises(FileNotFoundError):
        read_file(missing)


def test_many_files_do_not_stay_open(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(storage.OPEN_FILES + 10)]
    for number, path in enumerate(paths):
        path.write_bytes(number.to_bytes(2, "little"))
    found = read_ranges([Range(str(path), 0, 2) for path in paths])
    assert [int.from_bytes(data, "little") for data in found] == list(range(len(paths)))
    assert len(storage._open_files.descriptors) == storage.OPEN_FILES


def test_missing_packages_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.core

    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(ConfigError, match="s3://bucket/x: this storage needs s3fs: pip install s3fs"):
        read_file("s3://bucket/x")


def test_unknown_kinds_of_storage_are_mistakes() -> None:
    with pytest.raises(ConfigError, match=r"nope://bucket/x: .*nope"):
        read_file("nope://bucket/x")


def test_a_lost_disk_is_told_from_a_lost_file(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other.wav").touch()
    (tmp_path / "unmounted").mkdir()
    gone = FileNotFoundError(errno.ENOENT, "No such file")
    assert not storage_lost(tmp_path / "full" / "x.wav", gone)
    assert storage_lost(tmp_path / "unmounted" / "x.wav", gone)
    assert storage_lost(tmp_path / "nowhere" / "x.wav", gone)
    assert storage_lost(tmp_path / "full" / "x.wav", OSError(errno.EIO, "I/O error"))
    assert storage_lost(tmp_path / "full" / "x.wav", OSError(errno.ESTALE, "Stale file handle"))
    assert not storage_lost(tmp_path / "full" / "x.wav", PermissionError(errno.EACCES, "denied"))
    assert not storage_lost(tmp_path / "unmounted" / "x.wav", ValueError("not audio"))
