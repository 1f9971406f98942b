"""Runs one command of ours again and again on a disk that is full from its n-th call on; started with disk.c preloaded.

Reads a JSON line {"verb": [...], "resume": [...], "below": folder, "calls": [...] or null, "stays": bool} and a folder
"before" that is copied to "below" each time; answers with a JSON line for each n: exit code, what was said, what is
left, and what the command that goes on exits with and leaves.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
import traceback
from pathlib import Path

HEAVY = ("torch", "numpy", "safetensors.torch", "soundfile", "emotion2vec.cli")


def state(folder: Path) -> dict[str, str]:
    """Hashes of all files, by name; folders have none."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
    }


def run(words: list[str], folder: Path, disk: ctypes.CDLL, number: int, stays: bool) -> tuple[int, str, int]:
    """Run a command in a process of its own; its exit code, its stderr, and its calls to the disk."""
    said = folder.with_name("stderr.txt")
    disk.disk_fail(number, int(stays), os.fsencode(folder))
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
            os._exit(code)
    _, status = os.waitpid(child, 0)
    calls = disk.disk_calls()
    disk.disk_fail(0, 0, b"")
    return os.waitstatus_to_exitcode(status), said.read_text(errors="replace"), calls


def main() -> None:
    """Answer one request after the other."""
    disk = ctypes.CDLL(sys.argv[1])
    for name in HEAVY:
        __import__(name)
    for line in sys.stdin:
        asked = json.loads(line)
        folder, before = Path(asked["below"]), Path(asked["before"])
        number, step = asked.get("first", 1), asked.get("step", 1)
        while number <= asked.get("last", 10_000):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(before, folder, symlinks=True)
            code, said, calls = run(asked["verb"], folder, disk, number, asked["stays"])
            answer = {"number": number, "code": code, "said": said, "calls": calls, "left": state(folder)}
            if calls >= number:
                answer["then"], answer["then_said"], _ = run(asked["resume"], folder, disk, 0, False)
                answer["end"] = state(folder)
            print(json.dumps(answer), flush=True)
            if calls < number:
                break
            number += step
        print("done", flush=True)


if __name__ == "__main__":
    main()
