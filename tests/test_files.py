"""What is written is there whole or not at all, and no output is called by what it is not."""

from __future__ import annotations

import ast
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from emotion2vec.cli import main
from emotion2vec.errors import ConfigError
from emotion2vec.files import (
    check_file_name,
    check_folder_name,
    complete_file,
    complete_first,
    complete_folder,
    publish,
    write_bytes,
    write_json,
    write_text,
)

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the disk, in order: which content or folder was flushed, and what was renamed to what."""
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        done.append(f"fsync {path.name}" if path.is_dir() else f"fsync {path.read_text()}")
        fsync(handle)

    def logged_replace(source: Path, target: Path) -> None:
        done.append(f"rename to {Path(target).name}")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    return done


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_on_disk_before_it_has_its_name_and_the_name_is_after(tmp_path: Path, steps: list[str]) -> None:
    expected = ["fsync new", "rename to a.txt", f"fsync {tmp_path.name}"]
    with complete_file(tmp_path / "a.txt") as partial:
        partial.write_text("new")
    assert steps == expected
    for write in (write_text, lambda path, text: write_bytes(path, text.encode())):
        steps.clear()
        write(tmp_path / "a.txt", "new")
        assert steps == expected
    steps.clear()
    (tmp_path / "streamed").write_text("new")
    publish(tmp_path / "streamed", tmp_path / "a.txt")
    assert steps == expected and names(tmp_path) == ["a.txt"]


def test_a_folder_is_on_disk_before_it_has_its_name_and_the_name_is_after(tmp_path: Path, steps: list[str]) -> None:
    with complete_folder(tmp_path / "model") as partial:
        (partial / "a.txt").write_text("new")
    folder = steps.pop(1)
    assert folder.startswith("fsync .model.") and folder.endswith(".partial")
    assert steps == ["fsync new", "rename to model", f"fsync {tmp_path.name}"]
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("write", [complete_file, complete_first, complete_folder])
def test_a_failing_write_leaves_what_was_there(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "a"
    if write is complete_folder:
        path.mkdir()
    else:
        path.write_text("old")
    with pytest.raises(RuntimeError, match="disk is full"), write(path) as partial:
        (partial / "b" if write is complete_folder else partial).write_text("half")
        raise RuntimeError("disk is full")
    assert names(tmp_path) == ["a"]
    assert path.is_dir() or path.read_text() == "old"


def test_a_failing_flush_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(handle: int) -> None:
        raise OSError(5, "Input/output error")

    write_text(tmp_path / "a", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_text(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "old"


def test_of_several_writers_the_first_one_wins(tmp_path: Path) -> None:
    with complete_first(tmp_path / "a") as second:
        second.write_text("second")
        with complete_first(tmp_path / "a") as first:
            first.write_text("first")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "first"


def test_several_writers_of_a_file_do_not_meet(tmp_path: Path) -> None:
    with complete_file(tmp_path / "a") as one, complete_file(tmp_path / "a") as other:
        one.write_text("one")
        other.write_text("other")
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "one"


def test_names_as_long_as_file_systems_take_them_and_odd_bytes_are_written(tmp_path: Path) -> None:
    path = tmp_path / ("ä" * 125 + ".json")
    write_text(path, "caf\udce9")
    assert path.read_bytes() == b"caf\xe9"
    with pytest.raises(ValueError, match="Out of range"):
        write_json(path, {"a": float("nan")})
    assert path.read_bytes() == b"caf\xe9" and len(names(tmp_path)) == 1


def test_files_are_as_readable_as_the_user_wants_them(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with complete_file(tmp_path / "a") as partial:
            partial.chmod(0o600)
        with complete_folder(tmp_path / "b") as partial:
            (partial / "c").touch(0o600)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("a", "b", "b/c")] == [0o640, 0o750, 0o640]


OPEN_ENDED = {
    "audio/decode/opening.py open": "a copy in a temporary folder, for a decoder that reads only what has a name",
    "extraction/writers/npz.py self._archive.open": "a member of an archive",
}
"""What is no file that has to be whole, with its reason."""


def written_by_hand(source: str) -> set[str]:
    """Calls that write a file under its own name, or name one; what is called partial is on its way to its name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called, words = ast.unparse(node.func), [ast.unparse(word) for word in [*node.args, *node.keywords]]
        method, unfinished = called.rpartition(".")[2], "partial" in called + "".join(words[:1])
        opened = method == "open" and any(re.fullmatch("(mode=)?'[wx]b?'", word) for word in words)
        wrote = opened or ("." in called and method in ("write_text", "write_bytes"))
        if called in ("os.replace", "os.rename", "os.link", "os.fsync", "shutil.move") or (wrote and not unfinished):
            found.add(called)
    return found


def test_nothing_is_written_by_hand() -> None:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "files.py" or path.parent != PACKAGE]
    assert paths
    found = {f"{path.relative_to(PACKAGE)} {call}" for path in paths for call in written_by_hand(path.read_text())}
    assert found == OPEN_ENDED.keys()


def test_the_check_sees_what_is_written_by_hand() -> None:
    assert written_by_hand("path.write_text('')\nwith open(path, 'wb') as f: os.replace(partial, path)") == {
        "path.write_text",
        "open",
        "os.replace",
    }
    good = "(partial / name).write_text('')\nopen(partial, 'w')\nopen(path)\nwrite_text(path, '')\npath.open('a')"
    assert written_by_hand(good) == set()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["visualize", "--root", "in", "--output", "v.png"], "v.png, expected a name that ends in .html or .htm"),
        (["extract", "in", "--model", "tiny", "--output", "f.csv"], "f.csv, but format npy is written into a folder"),
        (["extract", "in", "--model", "tiny", "--output", "f.H5", "--format", "hdf5"], "expected a path without .H5"),
        (["extract", "in", "--model", "tiny", "--output", "f.npz"], "f.npz is the name of an archive"),
        (["predict", "in", "--model", "tiny", "--output", "f.txt"], "ends in .csv, .tsv, .jsonl, .xlsx or .parquet"),
        (
            ["probe", "--root", "in", "--features", "logmel", "--output", "f.csv"],
            "f.csv, expected a name that ends in .json",
        ),
        (["prepare", "in", "shards.tar"], "shards.tar, but a corpus is written into a folder"),
        (["pretrain", "--config", "tiny", "data.train=in", "run.dir=run.pt"], "run.dir is run.pt, but a run is"),
        (["benchmark", "data=in", "output=b.html"], "b.html, but a benchmark is written into a folder"),
        (["convert", "tiny", "m.bin", "--to", "funasr"], "m.bin, but funasr is written into a folder"),
        (["export", "tiny", "m.pb"], "m.pb"),
    ],
)
def test_outputs_of_every_verb(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, words: list[str], found: str
) -> None:
    import soundfile

    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "in" / name / "x.wav", [0.1, -0.1] * 4_000, 16_000)
    monkeypatch.setattr(sys, "argv", ["emotion2vec", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert found in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_no_suffix_of_a_file_is_part_of_a_name(tmp_path: Path) -> None:
    for name in ("feats", "feats.v2", "run.2026", ".hidden", "base.1e-4"):
        check_folder_name(tmp_path / name, "output", "this")
    (tmp_path / "old.csv").mkdir()
    check_folder_name(tmp_path / "old.csv", "output", "this")
    check_file_name("scores", "output", [".json"])
    with pytest.raises(ConfigError, match=r"ends in \.json, which"):
        check_file_name("scores.yaml", "output", [".json"])
