"""What stands in front of every request: who may ask, from which page, how large; and what is counted of it."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion2vec.serve.errors import TOO_LARGE, RequestError
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import LOOPBACK, ServeOptions

OPEN = ("/healthz",)
"""What may be asked without a token."""

REFUSED = 1008
"""Code that a WebSocket is closed with which may not be opened."""


class Guard:
    """Middleware: a token where there is one, this server's own pages alone, and bodies that are not too large.

    A page of another site that is open in the user's browser may not ask a server that listens on this machine alone:
    its `Origin` is another, and the names under which it could reach the server are not known.

    Args:
        app: what answers.
        options: of the server.
        token: what requests must bear; empty for nothing.
        metrics: counts.
        routes: paths that are counted by name.
    """

    def __init__(self, app: ASGIApp, options: ServeOptions, token: str, metrics: Metrics, routes: frozenset[str]):
        self._app, self._options, self._token = app, options, token
        self._metrics, self._routes = metrics, routes
        self._most = int(options.limits.max_mb * 1e6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        fault = self._fault(scope)
        if scope["type"] == "websocket":
            if fault is None:
                await self._app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": REFUSED, "reason": str(fault)[:120]})
            return
        await self._counted(scope, receive, send, fault)

    async def _counted(self, scope: Scope, receive: Receive, send: Send, fault: RequestError | None) -> None:
        started, status, read = time.monotonic(), 500, 0
        route = scope["path"] if scope["path"] in self._routes else "other"

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def bounded() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._most:
                raise self._too_large()
            return message

        try:
            if fault is None:
                await self._app(scope, bounded, told)
            else:
                await answer(fault)(scope, receive, told)
        finally:
            self._metrics.answered(route, status, time.monotonic() - started)

    def _fault(self, scope: Scope) -> RequestError | None:
        """What is wrong with a request before its body is read."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._options.is_local and _part(f"//{host}", "hostname") not in LOOPBACK:
            return RequestError(421, f"the host is {host!r}, expected one of {', '.join(LOOPBACK)}")
        if origin is not None and _part(origin, "netloc") != host:
            return RequestError(403, f"the page that asks is of {origin}, expected one of this server")
        if self._token and scope["path"] not in OPEN:
            given = _token_of(headers.get("authorization", ""))
            if not hmac.compare_digest(given, self._token.encode()):
                return RequestError(401, "the token is missing or wrong, expected the header Authorization: Bearer ...")
        length = headers.get("content-length", "0")
        if not length.isdigit():
            return RequestError(400, f"the length of the body is {length!r}, expected a number")
        return self._too_large() if int(length) > self._most else None

    def _too_large(self) -> RequestError:
        return RequestError(
            TOO_LARGE, f"the body is larger than {self._options.limits.max_mb:g} MB, expected at most that"
        )


def _part(address: str, name: str) -> str | None:
    """A part of an address; None where it is none."""
    try:
        found: str | None = getattr(urlsplit(address), name)
    except ValueError:
        return None
    return found


def _token_of(header: str) -> bytes:
    """What a request bears: a token, or a password with whatever name, which browsers ask people for."""
    kind, _, given = header.partition(" ")
    if kind == "Basic":
        try:
            return base64.b64decode(given, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return given.encode("latin-1") if kind == "Bearer" else b""


def answer(error: RequestError) -> JSONResponse:
    """An error as the answer to a request."""
    headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:.0f}"}
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer, Basic realm="emotion2vec"'
    return JSONResponse({"error": str(error)}, error.status, headers)
