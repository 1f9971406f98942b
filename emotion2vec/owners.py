"""Who writes what: a process by its machine and number, as the names of unfinished files and locks have it."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

LONG_AGO = 86_400.0
"""Time since its last change after which a file of another machine, where nobody can look, is nobody's, in s."""


def this_owner() -> str:
    """This process: `<machine>.<number>`, without other dots."""
    return f"{_machine()}.{os.getpid()}"


def is_gone(owner: str) -> bool | None:
    """Whether a process has ended; None of one of another machine, and on Windows, where asking would stop it."""
    machine, _, number = owner.rpartition(".")
    if machine != _machine() or sys.platform == "win32":
        return None
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return True
    except PermissionError:  # another user's
        return False
    return False


def is_leftover(path: Path, owner: str | None) -> bool:
    """Whether nobody writes a file of this owner any more: it has ended, or nothing was heard of it for a day."""
    gone = None if owner is None else is_gone(owner)
    if gone is not None:
        return gone
    with suppress(OSError):
        return time.time() - path.stat().st_mtime > LONG_AGO
    return False


def _machine() -> str:
    """The machine's name; processes that do not see each other's numbers, as in containers, have another one."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())[:40]
    with suppress(OSError):
        return f"{name}-{os.stat('/proc/self/ns/pid').st_ino:x}"
    return name
