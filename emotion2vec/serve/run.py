"""A server from its options, until it is told to stop."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from importlib.util import find_spec

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import check_options
from emotion2vec.serve.options import LOOPBACK, TOKEN, ServeOptions

LARGEST_MESSAGE = 1 << 20
"""Of a live stream, in bytes."""


def serve(
    options: ServeOptions,
    say: Callable[[str], None] = print,
    bound: socket.socket | None = None,
    ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; requests that were accepted are answered before it ends.

    Args:
        options: see `ServeOptions`.
        say: shows a line of text to the user.
        bound: listens in place of the options' address.
        ready: called with the server's address once it answers.

    Raises:
        ConfigError: an option is wrong, a package is missing, the port is in use, or a model cannot be served.
    """
    check_options(options.faults())
    token = options.token()
    check_packages(options)

    if not options.is_local and not token:
        what = f"everybody who reaches {options.host} may ask, by its addresses and the names of this machine"
        say(f"warning: {what}; --token-file or {TOKEN} asks for a token")
    with closing(bound or listen(options.host, options.port)) as own, suppress(KeyboardInterrupt):
        asyncio.run(_serve(options, token, own, say, ready))  # Ctrl-C is the signal that has stopped it in order
    say("stopped")


def check_packages(options: ServeOptions) -> None:
    """Check that what serving needs is installed.

    Raises:
        ConfigError: a package is missing.
    """
    needed = ["fastapi", "prometheus_client", "python_multipart", "uvicorn", "websockets", *["gradio"] * options.page]
    if missing := [name for name in needed if find_spec(name) is None]:
        what, extra = ("the page", "demo") if options.page else ("serving", "serve")
        raise ConfigError(f"{what} needs the package {missing[0]}: pip install 'emotion2vec[{extra}]'")


async def _serve(
    options: ServeOptions,
    token: str,
    bound: socket.socket,
    say: Callable[[str], None],
    ready: Callable[[str], None] | None,
) -> None:
    import uvicorn

    from emotion2vec.serve.app import create_app
    from emotion2vec.serve.engine import Engine
    from emotion2vec.serve.metrics import Metrics

    ignored = signal.getsignal(signal.SIGINT) == signal.SIG_IGN

    class Announced(uvicorn.Server):
        """Says when it listens."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """See uvicorn."""
            await super().startup(sockets)
            if ignored:  # in a job that a script put into the background Ctrl-C is for another program
                signal.signal(signal.SIGINT, signal.SIG_IGN)
            say(f"serving {', '.join(options.model)} on {address(bound)}")
            if ready is not None:
                ready(address(bound))

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """See uvicorn; open pages are told first, which otherwise keep their connections."""
            for leave in leaving:
                leave()
            await super().shutdown(sockets)

    engine, leaving = Engine(options, Metrics()), list[Callable[[], None]]()
    with ExitStack() as stack:
        try:
            await engine.open()
            app = create_app(engine, token)
            if options.page:
                from emotion2vec.serve.page.mount import mount

                leaving.append(stack.enter_context(mount(app, engine)))
            config = uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                ws_max_size=LARGEST_MESSAGE,
                timeout_graceful_shutdown=math.ceil(options.limits.timeout),
            )
            await Announced(config).serve(sockets=[bound])
        finally:
            await engine.close()


def listen(host: str, port: int) -> socket.socket:
    """A socket on an address.

    Raises:
        ConfigError: it cannot be had; its cause is the OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two servers listen on one port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"port {port} of {host}: cannot be listened on: {error.strerror}; --port takes another, 0 any free one"
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """Where a socket is reached by a browser on this machine."""
    host, port = bound.getsockname()[:2]
    shown = LOOPBACK[0] if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
