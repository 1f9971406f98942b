"""What the verbs say on stderr: lines of text, or with `--log json` one JSON object a line and nothing else."""

from __future__ import annotations

import inspect
import io
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from functools import wraps
from itertools import pairwise
from typing import Annotated, Any

import typer

from emotion2vec.errors import ConfigError
from emotion2vec.progress import Progress, ProgressCallback

LOGS = ("text", "json")
FIRST = '{"time": '
"""What every object begins with."""
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
PROGRESS_SECONDS = 1.0
"""Least time between two objects that say how far a job is, in s."""


class JsonStderr(io.TextIOBase):
    """Stands in for stderr: a line of text that anybody writes becomes an object. It is no terminal: no bar is drawn.

    What libraries in C and other processes write to the descriptor comes through a pipe and becomes objects too.
    """

    encoding, errors = "utf-8", "backslashreplace"

    def __init__(self, stream: Any):
        self._stream, self._rest = stream, threading.local()
        self._out: int | None = None
        self._pump: threading.Thread | None = None
        with suppress(OSError, ValueError, AttributeError):
            if stream.fileno() == 2:
                stream.flush()
                self._out = os.dup(2)
                source, sink = os.pipe()
                os.dup2(sink, 2)
                os.close(sink)
                self._pump = threading.Thread(target=self._read, args=(source,), daemon=True)
                self._pump.start()

    def emit(self, level: str, event: str, message: str, fields: dict[str, Any]) -> None:
        """Write one object."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        facts = {"time": now, "level": level, "event": event, "message": message, **fields}
        self._put(json.dumps(facts, ensure_ascii=False, default=str))

    def write(self, text: str) -> int:
        """Take text; its complete lines become objects."""
        *lines, self._rest.text = (getattr(self._rest, "text", "") + text).split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def fileno(self) -> int:
        """The descriptor, which is the pipe; an error where there is none."""
        if self._out is None:
            raise io.UnsupportedOperation("fileno")
        return 2

    def isatty(self) -> bool:
        """It is none."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def end(self) -> None:
        """Write what is left, and give the descriptor back."""
        self._line(getattr(self._rest, "text", ""))
        if self._out is not None and self._pump is not None:
            os.dup2(self._out, 2)
            self._pump.join(timeout=1)  # a process that is still there may hold the pipe

    def _line(self, line: str) -> None:
        text = CONTROLS.sub("", line.rstrip().rpartition("\r")[2]).rstrip()  # what a terminal would show in the end
        if text.startswith(FIRST):  # of a process of ours
            self._put(text)
        elif text.strip():
            level = next((name for name in ("error", "warning") if text.startswith(f"{name}: ")), "info")
            self.emit(level, "message", text, {})

    def _put(self, line: str) -> None:
        if self._out is None:
            self._stream.write(line + "\n")
            self._stream.flush()
        else:
            os.write(self._out, (line + "\n").encode("utf-8", "backslashreplace"))

    def _read(self, source: int) -> None:
        with open(source, "rb") as stream:
            for raw in stream:
                self._line(raw.decode("utf-8", "backslashreplace").rstrip("\n"))


class _Records(logging.Handler):
    """Makes objects of what loggers are told."""

    def emit(self, record: logging.LogRecord) -> None:
        more = {"traceback": "".join(traceback.format_exception(*record.exc_info))} if record.exc_info else {}
        say(record.getMessage(), level=record.levelname.lower(), event="log", logger=record.name, **more)


_active: JsonStderr | None = None


@contextmanager
def json_log() -> Iterator[None]:
    """Turn all that is written to stderr into objects; inside itself it changes nothing."""
    global _active
    if _active is not None:
        yield
        return
    before, handler = sys.stderr, _Records()
    _active = sys.stderr = JsonStderr(before)  # type: ignore[assignment]
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(handler)
        ended, _active, sys.stderr = _active, None, before
        ended.end()  # type: ignore[union-attr]


def asks_json(words: list[str]) -> bool:
    """Whether a command line asks for JSON, which its own mistakes are said in too."""
    return "--log=json" in words or ("--log", "json") in pairwise(words)


def say(text: str, *, level: str | None = None, event: str = "message", **fields: Any) -> None:
    """Say something on stderr: a line of text, or an object with what is known beside it.

    Args:
        text: the line.
        level: `info`, `warning` or `error`; by default what the line begins with, `info` where that is neither.
        event: what happened.
        **fields: facts that the object has too.
    """
    if _active is None:
        typer.echo(text, err=True)
        return
    begun = next((name for name in ("error", "warning") if text.startswith(f"{name}: ")), "info")
    _active.emit(level or begun, event, text, fields)


def says_json() -> bool:
    """Whether objects are written now."""
    return _active is not None


def progress_events() -> ProgressCallback | None:
    """What says in objects how far a job is, at most once a second and at its end; None for text."""
    if _active is None:
        return None
    last = -float("inf")

    def tell(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PROGRESS_SECONDS and progress.done < progress.total:
            return
        last = now
        facts = {name: getattr(progress, name) for name in ("done", "total", "failed", "seconds", "elapsed")}
        facts |= {"metrics": dict(progress.metrics)} if progress.metrics else {}
        say(f"{progress.done} of {progress.total}", event="progress", **facts)

    return tell


def with_log(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the option `--log`."""
    signature = inspect.signature(verb, eval_str=True)
    kind = Annotated[str, typer.Option(help="text, or json: on stderr one object a line, progress too, and no bars.")]
    more = inspect.Parameter("log", inspect.Parameter.KEYWORD_ONLY, default="text", annotation=kind)

    @wraps(verb)
    def command(*, log: str = "text", **values: Any) -> None:
        if log not in LOGS:
            raise ConfigError(f"log is {log!r}, expected {' or '.join(LOGS)}")
        if log == "text":
            return verb(**values)
        with json_log():
            return verb(**values)

    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), more])  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in command.__signature__.parameters.items()}  # type: ignore[attr-defined]
    return command
