"""One writer for an output, and what killed writers leave: locks, unfinished files, folders about to be replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
from extraction.helpers import tiny_model
from signals import start_child

from emotion2vec import files
from emotion2vec.checkpoint import load_model, save_model
from emotion2vec.cli import main
from emotion2vec.errors import ConfigError
from emotion2vec.files import clear, complete_folder, unfinished, write_text
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
    clear(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "model",
        "model/old",
        "other",
    ]


def test_who_only_reads_finds_a_folder_that_was_being_replaced(tmp_path: Path) -> None:
    replaced, other = (tmp_path / f".{name}.{dead()}.0123abcd.replaced" for name in ("model", "other"))
    save_model(replaced, (network := tiny_model()).config, network.state_dict())
    other.mkdir()
    load_model(tmp_path / "model")
    assert {path.name for path in tmp_path.iterdir()} == {"model", other.name}


def test_a_folder_that_is_replaced_is_never_away(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    if not files._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("needs renameat2 and a file system with exchanges")
    model, seen, done = tmp_path / "model", set(), threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                seen.add((model / "number").read_text() != "")
            except FileNotFoundError:
                seen.add(False)

    with complete_folder(model) as partial:
        (partial / "number").write_text("0")
    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(1, 60):
            with complete_folder(model) as partial:
                (partial / "number").write_text(str(number))
    finally:
        done.set()
        reader.join()
    assert seen == {True} and (model / "number").read_text() == "59"
    assert {path.name for path in tmp_path.iterdir()} == {"one", "other", "model"}


@pytest.mark.parametrize("fails", ["nothing", "the new name", "the old name"])
def test_without_exchanges_a_replacement_that_fails_leaves_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    replace, tried = os.replace, 0

    def fail(source: Path, target: Path) -> None:
        nonlocal tried
        tried += 1
        if tried == {"nothing": 0, "the old name": 1, "the new name": 2}[fails]:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(files, "_exchange", lambda *folders: False)
    expected = nullcontext() if fails == "nothing" else pytest.raises(OSError, match=r"No space left.*model'$")
    with expected, complete_folder(tmp_path / "model") as partial:
        (partial / "new").touch()
    left = [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))]
    assert left == ["model", "model/new" if fails == "nothing" else "model/old"]


def test_names_of_the_unfinished_fit_and_say_whose_they_are(tmp_path: Path) -> None:
    path = unfinished(tmp_path / ("ä" * 127))
    path.touch()
    assert f".{this_owner()}." in path.name
    clear(tmp_path)
    assert path.exists()


WINDOWS = """
import errno, fcntl, os, sys, types
from pathlib import Path
import emotion2vec.errors, emotion2vec.owners, emotion2vec.units

def locking(handle, mode, size):
    try:
        fcntl.lockf(handle, mode, size)
    except BlockingIOError:
        raise PermissionError(errno.EACCES, "Permission denied") from None

modes = {"LK_NBLCK": fcntl.LOCK_EX | fcntl.LOCK_NB, "LK_UNLCK": fcntl.LOCK_UN}
sys.modules["msvcrt"] = types.SimpleNamespace(**modes, locking=locking)
sys.modules["fcntl"] = None
del os.pread, os.pwrite, os.register_at_fork
sys.platform = "win32"
from emotion2vec.errors import ConfigError
from emotion2vec.locks import Lock, is_held, only_writer

lock = Path(sys.argv[1])
with only_writer(lock, Path("out")):
    child = os.fork()
    if child == 0:
        for shared in (False, True):
            try:
                with only_writer(lock, Path("out"), shared=shared):
                    os._exit(1)
            except ConfigError as error:
                assert str(error).startswith(f"output out: process {os.getppid()} of "), error
        os._exit(0 if is_held(lock) else 2)
    assert os.waitpid(child, 0)[1] == 0
with only_writer(lock, Path("out"), shared=True):
    pass
assert not lock.exists() and Lock(lock).take()
"""


def test_locks_of_windows(tmp_path: Path, root: Path) -> None:
    """As far as they can be tried elsewhere: without `fcntl`, and with a lock of bytes in its place."""
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, str(tmp_path / LOCK)], env={**os.environ, "PYTHONPATH": str(root)}
    )
    assert done.returncode == 0
