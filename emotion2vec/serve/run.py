"""A server from its options, until it is told to stop."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import check_options
from emotion2vec.serve.options import LOOPBACK, TOKEN, ServeOptions

LARGEST_MESSAGE = 1 << 20
"""Of a live stream, in bytes."""

INSTALL = "pip install 'emotion2vec[serve]'"


def serve(options: ServeOptions, say: Callable[[str], None] = print) -> None:
    """Serve until SIGINT or SIGTERM; requests that were accepted are answered before it ends.

    Args:
        options: see `ServeOptions`.
        say: shows a line of text to the user.

    Raises:
        ConfigError: an option is wrong, a package is missing, the port is in use, or a model cannot be served.
    """
    check_options(options.faults())
    token = options.token()
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
        import websockets  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"serving needs the package {error.name}: {INSTALL}") from error

    if not options.is_local and not token:
        say(f"warning: everybody who reaches {options.host} may ask; --token-file or {TOKEN} asks for a token")
    with closing(_bound(options)) as bound, suppress(KeyboardInterrupt):  # of the signal that has stopped it in order
        asyncio.run(_serve(options, token, bound, say))
    say("stopped")


async def _serve(options: ServeOptions, token: str, bound: socket.socket, say: Callable[[str], None]) -> None:
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

    engine = Engine(options, Metrics())
    try:
        await engine.open()
        config = uvicorn.Config(
            create_app(engine, token),
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            ws_max_size=LARGEST_MESSAGE,
            timeout_graceful_shutdown=math.ceil(options.limits.timeout),
        )
        await Announced(config).serve(sockets=[bound])
    finally:
        await engine.close()


def _bound(options: ServeOptions) -> socket.socket:
    """A socket on the address.

    Raises:
        ConfigError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two servers listen on one port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((options.host, options.port))
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"port {options.port} of {options.host}: cannot be listened on: {error.strerror}; --port takes another, "
            "0 any free one"
        ) from error
    return bound


def address(bound: socket.socket) -> str:
    """Where a socket is reached by a browser on this machine."""
    host, port = bound.getsockname()[:2]
    shown = LOOPBACK[0] if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"
