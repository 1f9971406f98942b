"""The page from its options, until it is told to stop."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import ExitStack

from emotion2vec.errors import ConfigError
from emotion2vec.extraction.options import check_options
from emotion2vec.serve.page.options import DemoOptions
from emotion2vec.serve.run import check_packages, listen, serve

PORTS = 100
"""Ports that are tried, one after the other."""


def demo(options: DemoOptions, say: Callable[[str], None] = print) -> None:
    """Offer the page until SIGINT or SIGTERM, and open it in the user's browser.

    Args:
        options: see `DemoOptions`.
        say: shows a line of text to the user.

    Raises:
        ConfigError: an option is wrong, a package is missing, no port is free, or a model cannot be opened.
    """
    served = options.served()
    check_options(served.faults())
    check_packages(served)
    bound = free_port(options.host, options.port, say)
    serve(served, say, bound, _open_browser if options.browser and _has_display() else None)


def free_port(host: str, port: int, say: Callable[[str], None]) -> socket.socket:
    """A socket that listens on a port, or on the next one that is free, which is said.

    Raises:
        ConfigError: none is free, or the address cannot be had.
    """
    last = min(port + PORTS, 65535)
    for tried in range(port, last + 1):
        try:
            with ExitStack() as stack:
                bound = stack.enter_context(listen(host, tried))
                bound.listen()  # so that nobody else gets it while the models are opened
                stack.pop_all()
        except (ConfigError, OSError) as error:
            cause = error.__cause__ if isinstance(error, ConfigError) else error
            if not isinstance(cause, OSError) or cause.errno != errno.EADDRINUSE:
                raise
            continue
        if tried != port:
            say(f"port {port} is in use, so the page is on port {tried}")
        return bound
    raise ConfigError(f"ports {port} to {last} of {host} are in use; --port takes another, 0 any free one")


def _has_display() -> bool:
    """Whether a browser would have a window; without one a browser of text would take the terminal."""
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _open_browser(address: str) -> None:
    """Open it beside the server, which must not wait for a browser."""
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
