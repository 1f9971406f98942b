"""Runs commands of ours in processes that need not load anything, on disks that are full, or stops them.

A request is a JSON line; answers are JSON lines, and `done`.

{"verb": [...], "resume": [...], "before": folder, "below": folder, "stays": bool, "most": count or null, "features":
folder or ""}: one command again and again, on a disk that is full from its n-th call on, which needs `disk.c` preloaded
and its path as the argument. `before` is copied to `below` each time. The first answer is what it holds, the second of
a disk that takes everything, and the others are of one n each (of `most` of them at most): exit code, what was said,
what is left, and what the command that goes on exits with and leaves, also as arrays in the folder `features`.

{"once": [...], "before": folder, "stop": pattern or null}: a command that is run in `before` itself, and gets SIGTERM
as soon as there is a file with something in it that matches `stop`.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HEAVY = ("torch", "numpy", "safetensors.torch", "soundfile", "emotion2vec.cli")

NEVER = 1_000_000
"""The number of a call that no command comes to."""

LIMIT = 1200
"""Seconds after which a command counts as hung, and is killed."""


def state(folder: Path) -> dict[str, str]:
    """Hashes of all files, by name; folders have none."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def arrays(folder: Path) -> dict[str, list[str]]:
    """Hashes of all arrays that `extract` wrote to a folder, by name; of an array that is there twice two."""
    from emotion2vec.probe.features.stored.opening import open_store

    return {
        name: [hashlib.sha256(b"".join(array.tobytes() for array in read().values())).hexdigest() for read in entries]
        for name, entries in sorted(open_store(folder).entries.items())
    }


@dataclass
class Disk:
    """Counts calls that write below a folder, and fails them; None: without the library."""

    library: ctypes.CDLL | None

    def fail(self, number: int, stays: bool, folder: Path) -> None:
        """Fail the call of this number, and all after it where it stays; 0: none."""
        if self.library is not None:
            self.library.disk_fail(number, int(stays), os.fsencode(folder))

    def calls(self) -> int:
        """Calls since then."""
        return 0 if self.library is None else int(self.library.disk_calls())


def run(words: list[str], folder: Path, stop: str | None = None) -> tuple[int, str]:
    """Run a command in a process of its own; its exit code and its stderr."""
    said = folder.with_name("stderr.txt")
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with open(said, "wb") as stream:
                os.dup2(stream.fileno(), 2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            sys.stdout = os.fdopen(1, "w")
            sys.stderr = os.fdopen(2, "w", buffering=1)
            os.chdir(folder)
            signal.alarm(LIMIT)
            sys.argv = ["emotion2vec", *words]
            from emotion2vec.cli import main

            main()
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 98
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            folder.with_name("loaded.txt").write_text("\n".join(sys.modules))
            os._exit(code)
    status = None if stop is None else stopped(child, folder, stop)
    if status is None:
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")


def stopped(child: int, folder: Path, stop: str) -> int | None:
    """Send SIGTERM as soon as there is what matches `stop`; the status of a process that has ended before."""
    while not any(path.is_file() and path.stat().st_size for path in folder.glob(stop)):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGTERM)
    return None


def load(names: list[str]) -> bool:
    """Load modules, for all processes that are started from now on; whether there are more now."""
    before = len(sys.modules)
    for name in names:
        with suppress(Exception):
            importlib.import_module(name)
    gc.freeze()
    return len(sys.modules) > before


def chosen(calls: int, most: int | None) -> list[int]:
    """All numbers of calls, or some that are spread over them, the last one among them."""
    if most is None or most >= calls:
        return list(range(1, calls + 1))
    return sorted({round(calls * (part + 1) / most) for part in range(most)})


def scan(asked: dict[str, Any], disk: Disk) -> Iterator[dict[str, Any]]:
    """Answer a request with a verb."""
    folder, before = Path(asked["below"]), Path(asked["before"])
    yield state(before)
    numbers = [NEVER]
    while numbers:
        number = numbers.pop(0)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(before, folder, symlinks=True)
        disk.fail(number, asked["stays"], folder)
        code, said = run(asked["verb"], folder)
        calls = disk.calls()
        disk.fail(0, False, Path())
        answer = {"number": number, "code": code, "said": said, "calls": calls, "left": state(folder)}
        if calls >= number:
            answer["then"], answer["then_said"] = run(asked["resume"], folder)
        elif number == NEVER and code == 0:
            if load(folder.with_name("loaded.txt").read_text().split("\n")):
                numbers = [NEVER]  # once more: the first use of some packages writes
                continue
            numbers = chosen(calls, asked["most"])
        answer["end"] = state(folder)
        answer["features"] = arrays(folder / asked["features"]) if asked["features"] else {}
        yield answer


def main() -> None:
    """Answer one request after the other."""
    disk = Disk(ctypes.CDLL(sys.argv[1]) if sys.argv[1:] else None)
    load(["torch", "numpy", "safetensors.torch", "soundfile", "emotion2vec.cli"])
    for line in sys.stdin:
        asked = json.loads(line)
        if "once" in asked:
            code, said = run(asked["once"], Path(asked["before"]), asked["stop"])
            print(json.dumps({"code": code, "said": said}), flush=True)
        else:
            for answer in scan(asked, disk):
                print(json.dumps(answer), flush=True)
        print("done", flush=True)


if __name__ == "__main__":
    main()
