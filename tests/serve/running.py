"""A server of ours in a thread of the tests."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from emotion2vec.serve.app import create_app
from emotion2vec.serve.engine import Engine
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import ServeOptions
from emotion2vec.serve.run import address


@dataclass
class Running:
    """A server that answers.

    Attributes:
        url: where.
        engine: what computes for it.
    """

    url: str
    engine: Engine

    @property
    def client(self) -> httpx.Client:
        """Asks it."""
        return httpx.Client(base_url=self.url, timeout=120)


@contextmanager
def running(options: ServeOptions, token: str = "") -> Iterator[Running]:
    """Serve while entered."""
    bound = socket.create_server(("127.0.0.1", 0))
    found: list[Running] = []
    ready, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        engine = Engine(options, Metrics())
        try:
            await engine.open()
            server = uvicorn.Server(uvicorn.Config(create_app(engine, token), lifespan="off", log_level="warning"))
            task = asyncio.create_task(server.serve(sockets=[bound]))
            while not server.started:
                await asyncio.sleep(0.01)
            found.append(Running(address(bound), engine))
            ready.set()
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await task
        finally:
            await engine.close()
            ready.set()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join()
