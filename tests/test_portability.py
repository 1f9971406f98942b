"""What only POSIX has, or Windows does otherwise, is in few files, each of which asks first whether it is there."""

from __future__ import annotations

import ast
import importlib
import os
import re
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from pages import Reader

from emotion2vec.data.workers import outlive_signals, signals_held
from emotion2vec.files import sync, unfinished
from emotion2vec.places import open_to_read, read_at, write_at

PACKAGE = Path(__file__).resolve().parents[1] / "emotion2vec"


class Allowed(NamedTuple):
    """A file that may use it."""

    file: str
    guard: str
    """Stands in the file."""


WINDOWS, POSIX, LINUX = 'sys.platform == "win32"', 'os.name == "', "sys.platform"

POSIX_ONLY: dict[str, list[Allowed]] = {
    # Files: Windows names no place with a call, flushes no folders, and reads text unless told otherwise.
    r"os\.(pread|pwrite|preadv|pwritev)\b": [Allowed("places.py", 'hasattr(os, "pread")')],
    r"os\.(fsync|fdatasync|sync)\b": [Allowed("files.py", 'os.name == "nt" and path.is_dir()')],
    r"O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC": [
        Allowed("places.py", "O_BINARY"),
        Allowed("files.py", 'os.O_RDWR if os.name == "nt"'),
    ],
    r"os\.(symlink|mkfifo|mknod|statvfs|chown|lchown|umask|getxattr|sendfile)\b": [],
    r"renameat2|ctypes\.CDLL\(None": [
        Allowed("files.py", "suppress(AttributeError, TypeError, OSError)"),
        Allowed("audio/decode/process.py", 'sys.platform != "linux"'),
    ],
    r"[\"'](/tmp|/dev|/etc|/usr|/var|/home)\b": [],
    r"[\"']/proc\b": [
        Allowed("processors.py", "except OSError"),
        Allowed("owners.py", "suppress(OSError)"),
        Allowed("serve/decoder.py", 'sys.platform.startswith("linux")'),
    ],
    r"\bfcntl\b": [Allowed("locks.py", WINDOWS)],
    # Processes: Windows has no forks, no groups of processes, and of signals only Ctrl-C and one that always ends.
    r"SIG(KILL|HUP|QUIT|USR1|USR2|ALRM|PIPE|CHLD|CONT|STOP|TSTP|WINCH)\b": [
        Allowed("audio/decode/process.py", 'sys.platform != "linux"')
    ],
    r"pthread_sigmask|pthread_kill|sigwait|sigpending|setitimer|siginterrupt|set_wakeup_fd": [
        Allowed("data/workers.py", 'hasattr(signal, "pthread_sigmask")')
    ],
    r"\.SIGTERM\b": [Allowed(name, "signal.signal(") for name in ("stopping.py", "probe/stopping.py", "serve/child.py")]
    + [Allowed("data/workers.py", 'hasattr(signal, "pthread_sigmask")')]
    + [Allowed("training/trainer.py", "interrupts.caught == signal.SIGTERM")],  # sends and awaits none
    r"os\.(fork|forkpty|register_at_fork|setsid|setpgid|getpgid|killpg|wait|waitpid|wait4|nice)\b": [
        Allowed("locks.py", 'sys.platform != "win32"')
    ],
    r"os\.kill\b": [Allowed("owners.py", WINDOWS)],
    r"preexec_fn|close_fds|pass_fds": [Allowed("audio/decode/process.py", "sys.platform")],
    r"start_new_session": [Allowed("training/probing.py", "start_new_session=True")],  # Windows passes over it
    r"get_context\(.fork|set_start_method": [],
    # The machine.
    r"\bresource\.|import (resource|pwd|grp|termios|tty|pty)\b": [
        Allowed("devices.py", WINDOWS),
        Allowed("serve/decoder.py", 'sys.platform.startswith("linux")'),
    ],
    r"os\.(sched_\w+|getloadavg|sysconf|uname|getuid|geteuid|getgid|getlogin)\b": [
        Allowed("processors.py", 'hasattr(os, "sched_getaffinity")')
    ],
    r"SO_REUSE\w+|AF_UNIX": [Allowed("serve/run.py", 'os.name == "posix"')],
    # Names: an id has slashes on every system.
    r"str\([^()]*relative_to\(|os\.(sep|altsep)\b|os\.path\.relpath\(": [],
}
"""What is not everywhere as it is on Linux, as a pattern, and the files that may use it since they ask."""


@cache
def code_of(source: str) -> str:
    """A source file without its comments and docstrings."""

    class Bare(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST:
            return ast.Pass() if isinstance(node.value, ast.Constant) else node

    return ast.unparse(Bare().visit(ast.parse(source)))


def unguarded(sources: dict[str, str]) -> list[str]:
    """Files that use what is not on every system, and may not, or do not ask for it."""
    faults = []
    for pattern, allowed in POSIX_ONLY.items():
        guards = {one.file: one.guard for one in allowed}
        for name, source in sources.items():
            found = re.search(pattern, source) and re.search(pattern, code_of(source))
            if found and guards.get(name, "\0") not in source:
                faults.append(f"{name}: {found[0]}")
            if not found and name in guards:
                faults.append(f"{name}: no {pattern} any more, take it from the list")
    return faults


def test_nothing_takes_the_system_for_posix() -> None:
    sources = {path.relative_to(PACKAGE).as_posix(): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    assert len(sources) > 100
    assert unguarded(sources) == []


@pytest.mark.parametrize(
    "line",
    [
        "os.fsync(1)",
        "signal.SIGHUP",
        "import fcntl",
        "open('/proc/self/stat')",
        "os.kill(1, 0)",
        "os.fork()",
        "str(path.relative_to(root))",
        "os.pread(1, 2, 3)",
        "signal.pthread_sigmask(1, ())",
        "resource.getrusage(0)",
    ],
)
def test_what_takes_it_for_posix_is_noticed(line: str) -> None:
    empty = dict.fromkeys((one.file for allowed in POSIX_ONLY.values() for one in allowed), "")
    before = unguarded(empty)
    assert [fault for fault in unguarded(empty | {"new.py": line}) if fault not in before]
    assert unguarded(empty | {"new.py": f'"""Not {line!a}."""\n# {line}\n'}) == before


def test_text_files_are_utf8_whatever_the_system_prefers(root: Path) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--preview", "--select", "PLW1514", "--no-cache", "emotion2vec"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_places_are_read_and_written_where_the_system_cannot_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pread", "pwrite"):
        monkeypatch.delattr(os, name)
    path = tmp_path / "a"
    with path.open("wb+", buffering=0) as stream:
        assert write_at(stream.fileno(), memoryview(b"abc\r\n"), 4) == 5
        assert write_at(stream.fileno(), memoryview(b"xyzw"), 0) == 4
        assert read_at(stream.fileno(), 3, 3) == b"wab"
    handle = open_to_read(str(path))
    assert read_at(handle, 100, 6) == b"c\r\n"
    os.close(handle)


def test_signals_that_cannot_be_held_are_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)
    for name in ("pthread_sigmask", "sigwaitinfo"):
        monkeypatch.delattr(signal, name)
    try:
        with signals_held():
            outlive_signals(0)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_folders_are_not_flushed_where_none_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened, real = tmp_path / "a", [], os.open
    path.touch()

    def logged(name: Path, flags: int) -> int:
        opened.append((name, flags))
        return real(name, flags)

    monkeypatch.setattr(os, "open", logged)
    with monkeypatch.context() as windows:
        windows.setattr(os, "name", "nt")
        sync(tmp_path)
        sync(path)
    assert opened == [(path, os.O_RDWR)]


def test_tests_that_need_posix_are_known_by_their_source() -> None:
    needs_posix = importlib.import_module("conftest").needs_posix
    assert needs_posix('Path("/proc/self/stat").read_text()') and needs_posix("process.send_signal(number)")
    assert not needs_posix("assert read(path).signals == []")


def follow(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test of a page does, whose commands a shell carries out."""
    assert Reader(page.parent, monkeypatch).do(page)


def test_what_a_test_uses_is_looked_at_too() -> None:
    conftest = importlib.import_module("conftest")
    used = list(conftest.sources(follow, set()))
    assert not conftest.needs_posix(used[0]) and any(map(conftest.needs_posix, used))
    assert not any(map(conftest.needs_posix, conftest.sources(test_names_on_their_way_have_whole_letters, set())))


def test_names_on_their_way_have_whole_letters() -> None:
    for name in ("ä" * 125 + ".json", "a" + "ä" * 125, "怒" * 80):
        shown = unfinished(Path(name)).name
        shown.encode()  # no half of a letter
        assert len(shown.encode()) < 255 and shown[1:51] == name[:50]
