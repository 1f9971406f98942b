"""What the page's controls do."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import gradio as gr

from emotion2vec.errors import ConfigError
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.page.cards import sentences
from emotion2vec.serve.page.comparison import comparison
from emotion2vec.serve.page.desk import Asked, Desk
from emotion2vec.serve.page.layout import HINT, TWO, Page, Views, adapt_info, status_text
from emotion2vec.serve.page.reference import read_reference
from emotion2vec.serve.page.session import Session, newest
from emotion2vec.serve.page.shelf import Heard
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


Update = dict[Any, Any]
"""Values of components."""


class Events:
    """Answers what people do, of each open page the newest event alone; older ones are given up.

    Args:
        desk: hears and asks.
        page: whose controls are used.
    """

    def __init__(self, desk: Desk, page: Page):
        self._desk, self._page = desk, page

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
            views.table.select(self._chosen, given, shown, trigger_mode="always_last", **QUIET)
            pairs: list[Any] = [page.pair[0].change, page.pair[1].change, controls.model.change]
            compared = [page.session, controls.model, *page.pair]
            gr.on(pairs, self._compared, compared, page.compared, trigger_mode="always_last", **QUIET)

    async def _changed(
        self, state: Session, files: list[str] | None, recorded: str | None, *given: Any
    ) -> AsyncIterator[Update]:
        """Hear what is new, and show everything."""
        state.recordings(recorded)
        async for update in self._newest(state, self._everything(state, files, *given)):
            yield update

    async def _modelled(
        self, state: Session, files: Any, recorded: str | None, model: str, window: float, _: Any, *rest: Any
    ) -> AsyncIterator[Update]:
        """Ask another model, about all of its labels."""
        state.recordings(recorded)
        labels = labels_of(self._desk, model)

        async def updates() -> AsyncIterator[Update]:
            yield {self._page.controls.classes: gr.CheckboxGroup(labels, value=labels, visible=bool(labels))}
            async for update in self._everything(state, files, model, window, labels, *rest):
                yield update

        async for update in self._newest(state, updates()):
            yield update

    async def _forgotten(self, state: Session, files: Any, _: Any, *given: Any) -> AsyncIterator[Update]:
        """Forget what was recorded."""
        recorded = list(state.recorded)
        state.recorded.clear()
        self._desk.forget(state, recorded)

        async def updates() -> AsyncIterator[Update]:
            self._desk.forget(state, recorded)  # again, as an older event may have heard it meanwhile
            yield {self._page.controls.microphone: None}
            async for update in self._everything(state, files, *given):
                yield update

        async for update in self._newest(state, updates()):
            yield update

    async def _chosen(
        self, event: gr.EventData, state: Session, files: Any, recorded: str | None, *given: Any
    ) -> AsyncIterator[Update]:
        """Show the clip in full whose name is chosen in the table."""
        state.chosen = str(event._data.get("key", ""))
        async for update in self._changed(state, files, recorded, *given):
            yield update

    def _newest(self, state: Session, updates: AsyncIterator[Update]) -> AsyncIterator[Update]:
        return newest(state, updates, {self._page.views.status: gr.skip()})

    async def _everything(
        self, state: Session, files: list[str] | None, model: str, *rest: Any
    ) -> AsyncIterator[Update]:
        """Hear what was not heard, ask the model, and show it."""
        desk, views, began = self._desk, self._page.views, time.monotonic()
        asked = self._asked(model, *rest)
        paths = [*map(str, files or []), *state.recorded]
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
        yield {self._page.session: state, **self._pair(state, clips), **_shown(views, view, told, state)}

    def _pair(self, state: Session, clips: Sequence[Heard]) -> Update:
        """What is offered of so many clips."""
        state.pair = tuple(state.kept([one.key for one in clips]))
        choices = [(one.name, one.key) for one in clips]
        pair = {one: gr.Dropdown(choices, value=key) for one, key in zip(self._page.pair, state.pair, strict=True)}
        adapt = gr.Checkbox(interactive=len(clips) >= LEAST_CLIPS, info=adapt_info(len(clips)))
        return {self._page.controls.adapt: adapt, **pair}

    async def _compared(self, state: Session, model: str, *keys: str | None) -> str:
        """Compare the two clips that are chosen."""
        state.pair = keys
        known = {one.key: one for one in self._desk.clips(state)}
        clips = [known[key] for key in keys if key in known]
        if len(clips) < 2:
            return sentences([TWO], "note")
        try:
            first, second = [await self._desk.vector(clip, model) for clip in clips]
            reference = read_reference(model, first.size, self._desk.engine.model(model)["weights"])
            return comparison((clips[0].name, clips[1].name), (first, second), model, reference)
        except (RequestError, ConfigError) as error:
            return sentences([str(error)], "alert")
        except Exception:
            LOG.exception("two clips could not be compared")
            return sentences([FAILED], "alert")

    async def _view(self, state: Session, asked: Asked) -> View:
        """What is shown, whatever happens."""
        try:
            return await view_of(self._desk, state, asked)
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
