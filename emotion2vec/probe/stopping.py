"""Ctrl-C and SIGTERM on the command line: say what is kept, and leave."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from emotion2vec.stopping import exit_code


@contextmanager
def leaving_at_once(kept: Callable[[], str]) -> Iterator[None]:
    """Let SIGTERM act like Ctrl-C, and on either say what is kept and end the process without waiting for its threads.

    Threads in the middle of a fit in compiled code cannot be told to stop, and would be waited for when Python ends.
    The exit code is 75 after SIGTERM, as that of training, and 130 after Ctrl-C.
    """
    caught = int(signal.SIGINT)

    def terminate(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = number
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        print(f"interrupted; {kept()}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code(caught))
    finally:
        signal.signal(signal.SIGTERM, previous)
