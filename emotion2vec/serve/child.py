"""A child process that answers messages, as seen from the server's event loop: asked, killed, started again."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from emotion2vec.serve.errors import ProcessEndedError
from emotion2vec.serve.messages import receive, send

LOG = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Time before a process is started again that ended before it was ready, in s; it doubles each time."""

LONGEST_PAUSE_SECONDS = 60.0
"""What it doubles to at most."""

Answer = tuple[dict[str, Any], dict[str, np.ndarray]]
"""An object and arrays."""


class Child:
    """A process that is there until it is closed: one that ends is started again.

    Its first message says that it is ready, and what it is. Later ones answer what it was asked, by `id`. When its end
    of the pipe is closed it has to end.

    Args:
        name: for the log.
        target: what it runs, with its end of the pipe and the arguments; a function of a module.
        arguments: what it is given.
        on_restart: called when it is started again.

    Attributes:
        facts: what it says of itself; None while it is not ready.
        asked: how many messages wait for their answers.
        generation: how often it was started.
    """

    def __init__(
        self, name: str, target: Callable[..., None], arguments: tuple[Any, ...], on_restart: Callable[[], None]
    ):
        self.name = name
        self.facts: dict[str, Any] | None = None
        self._target, self._arguments, self._on_restart = target, arguments, on_restart
        self.generation = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._number = 0
        self._closed = self._was_ready = False
        self._first_end: str | None = None
        self._pause = PAUSE_SECONDS
        self._loop = asyncio.get_running_loop()
        self._ready, self._started = asyncio.Event(), asyncio.Event()
        self._sender = ThreadPoolExecutor(1, thread_name_prefix=f"to {name}")
        self._start()

    @property
    def asked(self) -> int:
        """See the class."""
        return len(self._waiting)

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    async def opened(self) -> dict[str, Any]:
        """Wait until it is ready for the first time; what it says of itself.

        Raises:
            ProcessEndedError: it ended before that.
        """
        await self._started.wait()
        if self.facts is None:
            raise ProcessEndedError(self._first_end or f"{self.name} ended before it was ready")
        return self.facts

    async def ready(self) -> None:
        """Wait until it is."""
        await self._ready.wait()

    async def ask(self, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> Answer:
        """Ask it.

        Raises:
            ProcessEndedError: it ended before it answered.
        """
        await self._ready.wait()
        self._number += 1
        number = self._number
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[number] = future
        connection = self._connection
        try:
            self._sender.submit(_send, connection, {"id": number, **facts}, arrays)
            return await future
        except asyncio.CancelledError:
            self._sender.submit(_send, connection, {"forget": number})
            raise
        finally:
            self._waiting.pop(number, None)

    def kill(self) -> None:
        """End the process at once, which is started again; whoever waits for an answer gets an error."""
        self._ready.clear()  # nobody asks it any more
        self._process.kill()

    async def close(self) -> None:
        """End the process for good."""
        self._closed = True
        await self._loop.run_in_executor(self._sender, _send, self._connection, {"close": True})
        await self._loop.run_in_executor(None, self._process.join, 10)
        if self._process.is_alive():
            self._process.kill()
            await self._loop.run_in_executor(None, self._process.join, 10)
        self._sender.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        self.generation += 1
        self._was_ready = False
        context = multiprocessing.get_context("spawn")
        self._connection, its = context.Pipe()
        self._process = context.Process(target=self._target, args=(its, *self._arguments), name=self.name, daemon=True)
        self._process.start()
        its.close()
        threading.Thread(target=self._read, args=(self._connection,), name=f"from {self.name}", daemon=True).start()

    def _read(self, connection: Connection) -> None:
        """Hand on what it says, until it ends; in a thread."""
        while True:
            try:
                facts, arrays = receive(connection)
            except (OSError, EOFError):
                break
            except Exception as error:  # whatever it says that is no message: a new one shall say better
                LOG.warning("%s says what cannot be read: %s", self.name, error)
                self._process.kill()
                break
            self._call(self._take, facts, arrays)
        self._process.join(10)
        self._call(self._ended, connection)

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        with suppress(RuntimeError):  # the loop is gone, and whoever waited with it
            self._loop.call_soon_threadsafe(function, *arguments)

    def _take(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        if "fault" in facts:  # with which it ends
            self._first_end = facts["fault"]
            LOG.warning("%s: %s", self.name, facts["fault"])
        elif not self._was_ready:
            self.facts, self._pause, self._was_ready = facts, PAUSE_SECONDS, True
            self._ready.set()
            self._started.set()
        else:
            future = self._waiting.get(facts.pop("id"))
            if future is not None and not future.done():
                future.set_result((facts, arrays))

    def _ended(self, connection: Connection) -> None:
        """Tell those who wait, and start it again."""
        with suppress(OSError):
            connection.close()
        self._ready.clear()
        self.facts = None
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ProcessEndedError(f"{self.name} ended with code {self._process.exitcode}"))
        if self._closed:
            return
        if not self._started.is_set():  # it never worked, and whoever opened it is told
            self._closed = True
            self._started.set()
            return
        LOG.warning("%s ended with code %s and is started again", self.name, self._process.exitcode)
        self._on_restart()
        if self._was_ready:
            self._start()
            return
        self._loop.call_later(self._pause, self._start_unless_closed)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS)

    def _start_unless_closed(self) -> None:
        if not self._closed:
            self._start()


def _send(connection: Connection, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Send a message; where nobody takes it any more, whoever reads will tell."""
    with suppress(OSError):
        send(connection, facts, arrays)


def leave_signals() -> None:
    """In a child: leave signals to the server, which tells its children when it is time."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def messages(connection: Connection) -> Iterator[Answer]:
    """In a child: what comes, until the server closes it or is gone."""
    while True:
        try:
            facts, arrays = receive(connection)
        except (OSError, EOFError):
            return
        if facts.get("close"):
            return
        yield facts, arrays
