"""What stands in front of every request: who may ask, from which page, how large; and what is counted of it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import ipaddress
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotion2vec.serve.errors import TOO_LARGE, RequestError
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import LOOPBACK, ServeOptions

OPEN = ("/healthz",)
"""What may be asked without a token."""

REFUSED = 1008
"""Code that a WebSocket is closed with which may not be opened."""

SENT = {"Content-Security-Policy": "frame-ancestors 'self'", "X-Content-Type-Options": "nosniff"}
"""What every answer bears: no page of another site frames it, and no browser takes it for what it is not."""

CHALLENGES = ("Bearer", 'Basic realm="emotion2vec"')
"""How a token may be given; a line of the head for each, since Chromium knows no line with several."""

REST_BYTES, REST_SECONDS = 32_000_000, 5.0
"""What is still read of a body that nobody wants, so that whoever sends it comes to read the answer."""


class _Body:
    """The body of a request as it comes, up to a limit.

    Args:
        receive: gives it.
        most: its largest size, in bytes.
        fault: what is said of one that is larger.
    """

    def __init__(self, receive: Receive, most: int, fault: RequestError):
        self._receive, self._most, self._fault = receive, most, fault
        self._read, self._more = 0, True

    async def __call__(self) -> Message:
        """See ASGI; raises an HTTPException, which every application of Starlette answers, where it is too large."""
        message = await self._receive()
        self._more = message["type"] == "http.request" and message.get("more_body", False)
        self._read += len(message.get("body", b""))
        if self._read > self._most:
            raise HTTPException(self._fault.status, str(self._fault))
        return message

    async def leave(self) -> None:
        """Read what is left of it, unless that is much: a connection is reset that is closed before it was read."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._rest(), REST_SECONDS)

    async def _rest(self) -> None:
        left = REST_BYTES
        while self._more and left > 0:
            message = await self._receive()
            self._more = message["type"] == "http.request" and message.get("more_body", False)
            left -= len(message.get("body", b""))


class Guard:
    """Middleware: a token where there is one, this server's own pages alone, and bodies that are not too large.

    A page of another site that is open in the user's browser may not ask it: its `Origin` is another, what it loads or
    frames is fetched across sites (`Sec-Fetch-Site`; a link that opens the page is not), and the names under which it
    could reach the server as its own are not known here. With a token such a name may be any, unless the server listens
    on this machine alone: a browser has no password for it.

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
        self._any_name = bool(token) and not options.is_local
        own = () if options.is_local or token else (socket.gethostname(), socket.getfqdn())
        self._names = tuple(dict.fromkeys(name.lower() for name in (*LOOPBACK, *own, *options.name)))

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
        started, status = time.monotonic(), 500
        route = scope["path"] if scope["path"] in self._routes else "other"
        body, expects = _Body(receive, self._most, self._too_large()), "expect" in Headers(scope=scope)

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400 and not expects:  # who expects to be told sends nothing before that
                    await body.leave()
                MutableHeaders(scope=message).update(SENT)
            await send(message)

        try:
            if fault is None:
                with suppress(ClientDisconnect):  # who left while sending is no fault of ours
                    await self._app(scope, body, told)
            else:
                await answer(fault)(scope, receive, told)
        finally:
            self._metrics.answered(route, status, time.monotonic() - started)

    def _fault(self, scope: Scope) -> RequestError | None:
        """What is wrong with a request before its body is read."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._any_name and not self._is_known(_part(f"//{host}", "hostname")):
            known = ", ".join([*["an address"] * (not self._options.is_local), *self._names])
            return RequestError(421, f"the host is {host!r}, expected one of {known}; serve --name adds one")
        if origin is not None and _part(origin, "netloc") != host:
            return RequestError(403, f"the page that asks is of {origin}, expected one of this server")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not _opens(headers):
            return RequestError(403, "a page of another site asks, expected one of this server")
        if self._token and scope["path"] not in OPEN:
            given = _token_of(headers.get("authorization", ""))
            if not hmac.compare_digest(given, self._token.encode()):
                return RequestError(401, "the token is missing or wrong, expected the header Authorization: Bearer ...")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            return RequestError(400, f"the length of the body is {length!r}, expected a number")
        return self._too_large() if int(length) > self._most else None

    def _is_known(self, name: str | None) -> bool:
        """Whether a name is one of this server: no site of others can be under it."""
        return name in self._names or (not self._options.is_local and _is_address(name))

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


def _is_address(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "")
    except ValueError:
        return False
    return True


def _opens(headers: Headers) -> bool:
    """Whether a browser opens what it asks for as a page of its own, as links do."""
    return (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")


def _token_of(header: str) -> bytes:
    """What a request bears: a token, or a password with whatever name, which browsers ask people for."""
    kind, _, given = header.partition(" ")
    kind, given = kind.lower(), given.strip(" ")
    if kind == "basic":
        try:
            return base64.b64decode(given, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return given.encode("latin-1") if kind == "bearer" else b""


def answer(error: RequestError) -> JSONResponse:
    """An error as the answer to a request."""
    headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:.0f}"}
    response = JSONResponse({"error": str(error)}, error.status, headers)
    for challenge in CHALLENGES if error.status == 401 else ():
        response.headers.append("WWW-Authenticate", challenge)
    return response
