"""One writer for an output, and what killed writers leave: locks, unfinished files, folders about to be replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from signals import start_child

from emotion2vec.cli import main
from emotion2vec.errors import ConfigError
from emotion2vec.files import clear, complete_folder, restore, unfinished, write_text
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.owners import LONG_AGO, is_gone, this_owner

HOLD = """
import sys, time
from pathlib import Path
from emotion2vec.locks import only_writer
with only_writer(Path(sys.argv[1]), Path("out"), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(path: Path, root: Path, how: str = "alone") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(path), how]
    found = start_child(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    assert found.stdout is not None and found.stdout.readline() == "held\n"
    return found


def test_the_second_writer_is_told_who_is_first(tmp_path: Path, root: Path) -> None:
    lock = tmp_path / LOCK
    first = holder(lock, root)
    try:
        message = rf"^output out: process {first.pid} of \S+ is writing there, for [\d.]+ s; wait"
        for shared in (False, True):
            with pytest.raises(ConfigError, match=message), only_writer(lock, Path("out"), shared=shared):
                pass
    finally:
        first.kill()  # and its lock is nobody's
        first.wait()
    assert lock.exists()
    with only_writer(lock, Path("out")):
        inside = pytest.raises(ConfigError, match=f"process {os.getpid()} of")
        with inside, only_writer(lock, Path("out")):
            pass
    assert not lock.exists()


def test_those_that_share_keep_others_out_until_the_last(tmp_path: Path, root: Path) -> None:
    lock = tmp_path / LOCK
    first = holder(lock, root, "shared")
    with only_writer(lock, Path("out"), shared=True):
        pass
    assert lock.exists()
    with pytest.raises(ConfigError, match="is writing there"), only_writer(lock, Path("out")):
        pass
    first.kill()
    first.wait()
    with only_writer(lock, Path("out")):
        pass


def test_a_fork_does_not_keep_a_lock(tmp_path: Path) -> None:
    with only_writer(tmp_path / LOCK, Path("out")):
        child = os.fork()
        if child == 0:
            time.sleep(30)
            os._exit(0)
        (tmp_path / LOCK).unlink()
    try:
        with only_writer(tmp_path / LOCK, Path("out")):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize(
    ("words", "lock"),
    [
        (["extract", "in", "--output", "out"], "out/.lock"),
        (["extract", "in", "--output", "out", "--shard", "1/2"], "out/.lock-1-of-2"),
        (["extract", "in", "--output", "out/f.npz", "--format", "npz"], "out/.f.lock"),
        (["predict", "in", "--output", "out/p.jsonl"], "out/.p.jsonl.lock"),
        (["prepare", "in", "out"], "out/.lock"),
        (["pretrain", "--config", "tiny", "data.train=[in]", "run.dir=out"], "out/.lock"),
    ],
)
def test_every_verb_keeps_the_second_out(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    speech: Path,
    tmp_path: Path,
    words: list[str],
    lock: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").symlink_to(speech)
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(sys, "argv", ["emotion2vec", *words])
    with only_writer(tmp_path / lock, Path("out")), pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"process {os.getpid()} of" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def dead() -> str:
    """An owner that is gone."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return f"{this_owner().rpartition('.')[0]}.{child.pid}"


def test_owners() -> None:
    assert socket.gethostname()[:10].replace(".", "-").replace("_", "-") in this_owner()
    assert is_gone(this_owner()) is False and is_gone(dead()) is True and is_gone("elsewhere.1") is None


def test_leftovers_of_the_dead_go_and_those_of_others_stay(tmp_path: Path) -> None:
    old = time.time() - LONG_AGO - 100
    names = {
        f".a.txt.{dead()}.0123abcd.partial": False,
        f".features-00000.ark.{dead()}.0123abcd.partial.scp": False,
        f".b.{this_owner()}.0123abcd.partial": True,
        ".c.elsewhere.7.0123abcd.partial": True,
        ".d.elsewhere.7.0123abcd.partial": False,
        ".e.partial": False,
        ".f.txt": True,
        "g.partial": True,
    }
    for name in names:
        (tmp_path / name).touch()
    for name in (".d.elsewhere.7.0123abcd.partial", ".e.partial", "g.partial"):
        os.utime(tmp_path / name, (old, old))
    write_text(tmp_path / "new.txt", "x")
    stay = {name for name, stays in names.items() if stays}
    assert {path.name for path in tmp_path.iterdir()} == stay | {"new.txt"}


def test_a_folder_that_was_being_replaced_comes_back(tmp_path: Path) -> None:
    for name, there in (("model", False), ("other", True)):
        replaced = tmp_path / f".{name}.{dead()}.0123abcd.replaced"
        replaced.mkdir()
        (replaced / "old").touch()
        if there:
            (tmp_path / name).mkdir()
    restore(tmp_path / "model")
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "model",
        "model/old",
        "other",
    ]


def test_a_replacement_that_fails_leaves_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    replace = os.replace

    def fail(source: Path, target: Path) -> None:
        if str(source).endswith(".partial"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left") as error, complete_folder(tmp_path / "model") as partial:
        (partial / "new").touch()
    assert error.value.filename == str(tmp_path / "model")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["model", "model/old"]


def test_names_of_the_unfinished_fit_and_say_whose_they_are(tmp_path: Path) -> None:
    path = unfinished(tmp_path / ("ä" * 127))
    path.touch()
    assert f".{this_owner()}." in path.name
    clear(tmp_path)
    assert path.exists()
