"""A server of ours in a thread of the tests."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from emotion2vec.serve.app import create_app
from emotion2vec.serve.engine import Engine
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import ServeOptions
from emotion2vec.serve.page.mount import mount
from emotion2vec.serve.run import address


@dataclass
class Server:
    """A server that answers, of whatever process.

    Attributes:
        url: where.
    """

    url: str

    @property
    def client(self) -> httpx.Client:
        """Asks it."""
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False)


@dataclass
class Running(Server):
    """A server of this process.

    Attributes:
        engine: what computes for it.
    """

    engine: Engine


def post(server: Server, route: str, *files: Path, **asked: object) -> httpx.Response:
    """Send files as a form."""
    with server.client as client:
        parts = [("file", (path.name, path.read_bytes())) for path in files]
        return client.post(f"/v1/{route}", files=parts, params={key: str(value) for key, value in asked.items()})


def wait_until(happened: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for it, and fail when it does not happen."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextmanager
def running(options: ServeOptions, token: str = "") -> Iterator[Running]:
    """Serve while entered."""
    bound = socket.create_server(("127.0.0.1", 0))
    found: list[Running] = []
    faults: list[BaseException] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        engine = Engine(options, Metrics())
        try:
            await engine.open()
            app = create_app(engine, token)
            with ExitStack() as stack:
                leave = stack.enter_context(mount(app, engine)) if options.page else lambda: None
                server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
                task = asyncio.create_task(server.serve(sockets=[bound]))
                while not server.started and not task.done():
                    await asyncio.sleep(0.01)
                found.append(Running(address(bound), engine))
                ready.set()
                await asyncio.to_thread(stop.wait)
                leave()
                server.should_exit = True
                await task
        except BaseException as error:  # raised where the test waits
            faults.append(error)
        finally:
            await engine.close()
            ready.set()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        if faults:
            raise faults[0]
        yield found[0]
    finally:
        stop.set()
        thread.join()
