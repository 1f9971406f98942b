"""What the page's controls do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from emotion2vec.errors import ConfigError
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.page.cards import sentences
from emotion2vec.serve.page.comparison import comparison
from emotion2vec.serve.page.desk import Asked, Desk, Session
from emotion2vec.serve.page.layout import HINT, TWO, Page, Views, adapt_info, status_text
from emotion2vec.serve.page.reference import read_reference
from emotion2vec.serve.page.views import View, view_of
from emotion2vec.tasks.adaptation import LEAST_CLIPS
from emotion2vec.units import counted, duration

LOG = logging.getLogger(__name__)

TICK = 2.0
"""Time after which it is said again how long something takes, in s."""

FAILED = "The page failed at this; what the program has written says why."
"""What is said of faults that nobody foresaw."""

QUIET: dict[str, Any] = {"show_progress": "hidden", "concurrency_limit": None, "api_visibility": "private"}
"""How events are told to Gradio: without its own signs of progress, side by side, and for this page alone."""


class Events:
    """Answers what people do.

    Args:
        desk: hears and asks.
        page: whose controls are used.
        folder: takes files to download.
    """

    def __init__(self, desk: Desk, page: Page, folder: Path):
        self._desk, self._page, self._folder = desk, page, folder

    def connect(self) -> None:
        """Have the controls do something."""
        page, controls, views = self._page, self._page.controls, self._page.views
        given = [page.session, *controls.all]
        shown = [page.session, controls.adapt, *page.pair, *views.all]
        options: tuple[Any, ...] = (
            controls.window,
            controls.classes,
            controls.abstain,
            controls.adapt,
            controls.damaged,
        )
        with page.blocks:
            used: list[Any] = [controls.files.change, controls.microphone.change, *(one.input for one in options)]
            gr.on(used, self._changed, given, shown, trigger_mode="always_last", **QUIET)
            controls.model.input(self._modelled, given, [*shown, controls.classes], trigger_mode="always_last", **QUIET)
            forgotten = {"trigger_mode": "always_last", **QUIET}
            views.forget.click(self._forgotten, given, [*shown, controls.microphone], **forgotten)
            chosen = [page.session, views.table, views.card, views.messages]
            views.table.select(self._chosen, given, chosen, **QUIET)
            pairs: list[Any] = [page.pair[0].change, page.pair[1].change, controls.model.change]
            compared = [page.session, controls.model, *page.pair]
            gr.on(pairs, self._compared, compared, page.compared, trigger_mode="always_last", **QUIET)

    async def _changed(
        self, state: Session, files: list[str] | None, recorded: str | None, model: str, *rest: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """Hear what is new, and show everything."""
        desk, views, began = self._desk, self._page.views, time.monotonic()
        asked = self._asked(model, *rest)
        paths = [*map(str, files or []), *state.recordings(recorded)]
        if paths:
            yield {views.status: status_text(f"Listening to {counted(len(paths), 'clip')} …", busy=True)}
        done = 0
        async for name in desk.hear(state, paths, asked):
            done += 1
            yield {views.status: status_text(f"Heard {done} of {len(paths)}: {name}", busy=True)}
        clips = desk.clips(state)
        length = duration(sum(one.seconds for one in clips))
        seeing = asyncio.create_task(self._view(state, asked))
        try:
            while clips and not seeing.done():
                so_far = time.monotonic() - began
                told = f", {duration(so_far)} so far" if so_far > TICK else ""
                yield {views.status: status_text(f"Asking {model} about {length} of sound{told} …", busy=True)}
                await asyncio.wait({seeing}, timeout=TICK)
            view = await seeing
        finally:
            seeing.cancel()
        took = duration(time.monotonic() - began)
        told = f"{counted(len(clips), 'clip')}, {length} of sound, in {took}" if clips else ""
        choices = [(one.name, one.key) for one in clips]
        places = [choices[number][1] if number < len(choices) else None for number in range(2)]
        adapt = gr.Checkbox(interactive=len(clips) >= LEAST_CLIPS, info=adapt_info(len(clips)))
        pair = {one: gr.Dropdown(choices, value=key) for one, key in zip(self._page.pair, places, strict=True)}
        yield {self._page.session: state, self._page.controls.adapt: adapt, **pair, **_shown(views, view, told, state)}

    async def _modelled(
        self, state: Session, files: Any, recorded: Any, model: str, window: float, _: Any, *rest: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """Ask another model, about all of its labels."""
        labels = labels_of(self._desk, model)
        yield {self._page.controls.classes: gr.CheckboxGroup(labels, value=labels, visible=bool(labels))}
        async for update in self._changed(state, files, recorded, model, window, labels, *rest):
            yield update

    async def _forgotten(
        self, state: Session, files: Any, _: Any, model: str, *rest: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """Forget what was recorded."""
        state.recorded.clear()
        yield {self._page.controls.microphone: None}
        async for update in self._changed(state, files, None, model, *rest):
            yield update

    async def _chosen(
        self, event: gr.EventData, state: Session, _: Any, __: Any, model: str, *rest: Any
    ) -> dict[Any, Any]:
        """Show the clip in full whose name is chosen in the table."""
        state.chosen = str(event._data.get("key", ""))
        view, views = await self._view(state, self._asked(model, *rest)), self._page.views
        return {
            self._page.session: state,
            views.table: view.table,
            views.card: view.card,
            views.messages: view.messages,
        }

    async def _compared(self, state: Session, model: str, *keys: str | None) -> str:
        """Compare the two clips that are chosen."""
        known = {one.key: one for one in self._desk.clips(state)}
        clips = [known[key] for key in keys if key in known]
        if len(clips) < 2:
            return sentences([TWO], "note")
        try:
            first, second = [await self._desk.vector(clip, model) for clip in clips]
            reference = read_reference(model, first.size)
            return comparison((clips[0].name, clips[1].name), (first, second), model, reference)
        except (RequestError, ConfigError) as error:
            return sentences([str(error)], "alert")
        except Exception:
            LOG.exception("two clips could not be compared")
            return sentences([FAILED], "alert")

    async def _view(self, state: Session, asked: Asked) -> View:
        """What is shown, whatever happens."""
        try:
            return await view_of(self._desk, state, asked, self._folder)
        except RequestError as error:
            return View(messages=sentences([str(error)], "alert"))
        except Exception:
            LOG.exception("clips could not be shown")
            return View(messages=sentences([FAILED], "alert"))

    def _asked(self, model: str, window: float, classes: Sequence[str], *rest: Any) -> Asked:
        """What the controls say."""
        abstain, adapt, damaged = rest
        labels = labels_of(self._desk, model)
        chosen = [label for label in labels if label in classes]
        return Asked(model, window or None, () if chosen == labels else chosen, abstain, adapt, damaged)


def labels_of(desk: Desk, model: str) -> list[str]:
    """Labels that a model's main head tells apart; none of one without a head, or of values."""
    head = desk.engine.model(model)["heads"].get("")
    return [] if head is None or head["values"] else list(head["labels"])


def _shown(views: Views, view: View, status: str, state: Session) -> dict[Any, Any]:
    """A view as values of the components that show it."""
    files = ((views.csv, view.csv), (views.json, view.json), (views.features, view.features))
    return {
        views.status: status_text(status),
        views.messages: view.messages,
        views.table: view.table,
        views.card: view.card or ("" if view.messages else HINT),
        views.forget: gr.Button(visible=bool(state.recorded)),
        **{button: gr.DownloadButton(value=path, visible=path is not None) for button, path in files},
    }
