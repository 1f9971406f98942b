"""The page on a server: mounted, with nothing of Gradio's that reads files or addresses on a client's word."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException
from starlette.responses import FileResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from emotion2vec.serve.engine import Engine

OPEN = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt", "/gradio_api/upload")
"""What a browser needs of Gradio, as paths."""

UNDER = ("/assets/", "/static/", "/svelte/", "/pwa_icon", "/gradio_api/heartbeat/")
"""What it needs below paths."""

CALLS = ("info", "app_id", "queue/join", "queue/data", "upload_progress", "startup-events", "cancel", "reset")
"""What it needs of Gradio's interface."""

STYLE, SCRIPT = "page.css", "page.js"
"""Files beside this one."""


class Door:
    """Lets a browser in to what the page needs; Gradio's proxies, editors and recordings are closed.

    Args:
        app: Gradio's.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and not is_open(scope["path"]):
            answer = JSONResponse({"error": f"{scope['path']}: Not Found"}, 404)
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


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
    """Offer the page at / until the end, when all that was uploaded is gone.

    Args:
        app: the server.
        engine: opened.

    Yields:
        What tells open pages that the server ends.
    """
    with tempfile.TemporaryDirectory(prefix="emotion2vec-page-") as name:
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # both are read when Gradio is imported
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name, "gradio"))
        yield _mounted(app, engine, Path(name))


def _mounted(app: FastAPI, engine: Engine, folder: Path) -> Callable[[], None]:
    import gradio as gr

    from emotion2vec.serve.page.desk import Desk
    from emotion2vec.serve.page.events import Events, labels_of
    from emotion2vec.serve.page.layout import laid_out
    from emotion2vec.serve.page.look import THEME
    from emotion2vec.serve.page.shelf import Shelf

    clips = folder / "clips"
    clips.mkdir()
    shelf = Shelf(clips)

    @app.get("/audio/{key}.wav", include_in_schema=False)
    async def audio(key: str) -> FileResponse:
        heard = shelf.get(key)
        if heard is None:
            raise HTTPException(404, "there is no such clip")
        return FileResponse(heard.path, media_type="audio/wav", headers={"Cache-Control": "private"})

    desk, models = Desk(engine, shelf), list(engine.models)
    laid = laid_out(models, labels_of(desk, models[0]))
    Events(desk, laid, folder).connect()
    page = laid.blocks
    here = Path(__file__).parent
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
        max_file_size=int(engine.limits.max_mb * 1e6),
        theme=THEME,
        css=(here / STYLE).read_text(encoding="utf-8"),
        head=f"<script>{script}</script>",
    )
    page.has_launched = True  # else Gradio takes every file of this machine for one that was uploaded
    for block in page.blocks.values():
        _refuse_addresses(block)
    route: Any = app.routes[-1]
    leave: Callable[[], None] = route.app.stop_event.set
    route.app = Door(route.app)
    return leave


def _refuse_addresses(block: Any) -> None:
    """Let a component take files that were uploaded, and none that a client names the address of."""
    take = block.async_move_resource_to_block_cache

    async def taken(source: Any) -> Any:
        if "://" in str(source):
            raise ValueError("an address was sent in place of a file, expected one that was uploaded")
        return await take(source)

    block.async_move_resource_to_block_cache = taken
