"""The page on a server: mounted, with nothing of Gradio's that reads files or addresses on a client's word."""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.datastructures import Headers
from starlette.responses import FileResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from emotion2vec.environment import variables
from emotion2vec.owners import is_leftover, this_owner
from emotion2vec.serve.engine import Engine
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.guard import answer
from emotion2vec.serve.page.shelf import Shelf
from emotion2vec.serve.page.uploads import Uploads

UPLOAD = "/gradio_api/upload"
"""Where files are sent."""

OPEN = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", UPLOAD)
"""What a browser needs of Gradio, as paths."""

UNDER = ("/assets/", "/static/", "/svelte/", "/pwa_icon", "/gradio_api/heartbeat/")
"""What it needs below paths."""

CALLS = ("info", "app_id", "queue/join", "queue/data", "upload_progress", "startup-events", "cancel", "reset")
"""What it needs of Gradio's interface."""

PREFIX = "emotion2vec-page-"
"""Of the temporary folder; its owner follows, and what makes it the only one."""

STYLE, SCRIPT = "page.css", "page.js"
"""Files beside this one."""


class Door:
    """Lets a browser in to what the page needs; Gradio's proxies, editors and recordings are closed.

    Args:
        app: Gradio's.
        uploads: say whether there is room for more.
        largest: bytes that an upload may have which does not say how many it has.
    """

    def __init__(self, app: ASGIApp, uploads: Uploads, largest: int):
        self._app, self._uploads, self._largest = app, uploads, largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            refusal = JSONResponse({"error": f"{scope['path']}: Not Found"}, 404)
            await refusal(scope, receive, send)
        elif scope["type"] == "http" and scope["path"] == UPLOAD:
            await self._upload(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = int(Headers(scope=scope).get("content-length", self._largest))
        try:
            await asyncio.to_thread(self._uploads.admit, size)
        except RequestError as error:
            await answer(error)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._uploads.arrived(size)


def is_open(path: str) -> bool:
    """Whether a path of Gradio's is one that the page needs."""
    if path in OPEN or path.startswith(UNDER):
        return True
    kind, _, call = path.partition("/gradio_api/")
    if kind or not call:
        return False
    return call.rstrip("/") in CALLS or (call.startswith("file=") and "://" not in call)


@contextmanager
def mount(app: FastAPI, engine: Engine) -> Iterator[Callable[[], None]]:
    """Offer the page at / until the end, when all that was uploaded is gone; and what programs left that were killed.

    Args:
        app: the server.
        engine: opened.

    Yields:
        What tells open pages that the server ends.
    """
    _remove_leftovers(Path(tempfile.gettempdir()))
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"{PREFIX}{this_owner()}-"))
        folder = Path(name).resolve()
        stack.enter_context(variables(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=str(folder / "gradio")))
        (clips := folder / "clips").mkdir()
        shelf = Shelf(clips)
        most = min(engine.limits.queue_mb * 1e6, shutil.disk_usage(folder).free / 4)
        uploads = Uploads(folder / "gradio", most, shelf)
        stack.enter_context(uploads.swept(folder))
        yield _mounted(app, engine, shelf, uploads)


def _remove_leftovers(folder: Path) -> None:
    """Remove the folders of programs that have ended without doing so."""
    for path in folder.glob(f"{PREFIX}*"):
        found = re.fullmatch(rf"{PREFIX}([^.]+\.\d+)-[^-.]+", path.name)
        if found and is_leftover(path, found[1]):
            shutil.rmtree(path, ignore_errors=True)


def _mounted(app: FastAPI, engine: Engine, shelf: Shelf, uploads: Uploads) -> Callable[[], None]:
    import gradio as gr

    from emotion2vec.serve.page.desk import Desk
    from emotion2vec.serve.page.events import Events, labels_of
    from emotion2vec.serve.page.layout import laid_out
    from emotion2vec.serve.page.look import THEME

    @app.get("/audio/{key}.wav", include_in_schema=False)
    async def audio(key: str) -> FileResponse:
        heard = shelf.get(key)
        if heard is None:
            raise HTTPException(404, "there is no such clip")
        return FileResponse(heard.path, media_type="audio/wav", headers={"Cache-Control": "private"})

    desk, models = Desk(engine, shelf, uploads), list(engine.models)
    laid = laid_out(models, labels_of(desk, models[0]))
    Events(desk, laid).connect()
    page = laid.blocks
    here, largest = Path(__file__).parent, int(engine.limits.max_mb * 1e6)
    script = (here / SCRIPT).read_text(encoding="utf-8")
    gr.mount_gradio_app(
        app,
        page,
        "/",
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        show_error=False,
        max_file_size=largest,
        theme=THEME,
        css=(here / STYLE).read_text(encoding="utf-8"),
        head=f"<script>{script}</script>",
    )
    page.has_launched = True  # else Gradio takes every file of this machine for one that was uploaded
    for block in page.blocks.values():
        _refuse_addresses(block)
    route: Any = app.routes[-1]
    leave: Callable[[], None] = route.app.stop_event.set
    route.app = Door(route.app, uploads, largest)
    return leave


def _refuse_addresses(block: Any) -> None:
    """Let a component take files that were uploaded, and none that a client names the address of."""
    take = block.async_move_resource_to_block_cache

    async def taken(source: Any) -> Any:
        if "://" in str(source):
            raise ValueError("an address was sent in place of a file, expected one that was uploaded")
        return await take(source)

    block.async_move_resource_to_block_cache = taken
