"""Where things are on the page: Gradio's controls, with our own pictures between them; `events` says what they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import gradio as gr

from emotion2vec.serve.page.cards import sentences
from emotion2vec.serve.page.said import WINDOWS
from emotion2vec.serve.page.session import Session
from emotion2vec.tasks.adaptation import LEAST_CLIPS
from emotion2vec.version import __version__

CHOOSE = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-key]');
  if (button) trigger('select', {key: button.dataset.key});
});
"""
"""What the table of clips does in the browser: the name of a clip shows it."""

STATUS = "element.setAttribute('role', 'status');"
"""What tells readers of screens how far the page is, since this element stays."""

DAY = 24 * 3600
"""Time after which what was sent or recorded goes in any case, in s."""

TWO = "Open or record two clips, and choose them here."
"""What is said where there are too few to compare."""

HINT = (
    '<p class="ev-hint">Open or record speech above: its waveform, the emotions over time and those of the whole clip '
    "appear here. Several files become a table.</p>"
)

HEAD = (
    '<header class="ev-head"><h1>emotion2vec</h1><p>How does it sound? Record or open speech, and see what a model '
    "makes of it over time. Everything is computed on the machine that this page comes from.</p></header>"
)

FOOT = (
    f'<footer class="ev-foot">emotion2vec {escape(__version__)}. What a model says of a voice is a guess of how it '
    "sounds, not of what somebody feels. What is opened or recorded is kept while this page is open and up to an hour "
    "more, at most a day and until the program ends.</footer>"
)


class Parts:
    """Components of the page."""

    @property
    def all(self) -> list[Any]:
        """All of them, in the order of the fields."""
        return list(vars(self).values())


@dataclass(frozen=True)
class Controls(Parts):
    """What people use.

    Attributes:
        files: to open.
        microphone: to record with.
        model: its name.
        window: length of windows.
        classes: labels to tell apart.
        abstain: least probability of a label.
        adapt: whether to adapt to the clips.
        damaged: whether to take what there is of damaged files.
    """

    files: gr.File
    microphone: gr.Audio
    model: gr.Dropdown
    window: gr.Dropdown
    classes: gr.CheckboxGroup
    abstain: gr.Slider
    adapt: gr.Checkbox
    damaged: gr.Checkbox


@dataclass(frozen=True)
class Views(Parts):
    """What is shown: how far the page is, what is wrong, all clips, one of them, files to download, and a button."""

    status: gr.HTML
    messages: gr.HTML
    table: gr.HTML
    card: gr.HTML
    csv: gr.DownloadButton
    json: gr.DownloadButton
    features: gr.DownloadButton
    forget: gr.Button


@dataclass(frozen=True)
class Page:
    """All of the page.

    Attributes:
        blocks: Gradio's.
        session: what one open page has.
        controls: what people use.
        views: what is shown.
        pair: the two clips that are compared.
        compared: what is said of them.
    """

    blocks: gr.Blocks
    session: gr.State
    controls: Controls
    views: Views
    pair: tuple[gr.Dropdown, gr.Dropdown]
    compared: gr.HTML


def laid_out(models: Sequence[str], labels: Sequence[str]) -> Page:
    """The page, whose controls do nothing yet.

    Args:
        models: names of those that can be chosen.
        labels: of the first one.
    """
    with gr.Blocks(title="emotion2vec", analytics_enabled=False, delete_cache=(3600, DAY)) as blocks:
        gr.HTML(HEAD)
        session = gr.State(Session(), time_to_live=DAY)
        controls = _controls(models, labels)
        status = gr.HTML(status_text(""), js_on_load=STATUS, elem_id="ev-status")
        with gr.Tabs():
            with gr.Tab("Clips", id="clips"):
                views = _views(status)
            with gr.Tab("Compare two clips", id="compare"):
                with gr.Row():
                    first, second = (gr.Dropdown([], label=f"Clip {letter}", elem_id=f"ev-{letter}") for letter in "AB")
                compared = gr.HTML(sentences([TWO], "note"), elem_id="ev-compared")
        gr.HTML(FOOT)
    return Page(blocks, session, controls, views, (first, second), compared)


def status_text(text: str, busy: bool = False) -> str:
    """How far the page is, as HTML."""
    kind = "ev-busy" if busy else "ev-told"
    return f'<p class="ev-status {kind}">{escape(text)}</p>' if text else ""


def adapt_info(clips: int) -> str:
    """What is said of adapting where there are so many clips."""
    return f"Takes {LEAST_CLIPS} clips or more, of mixed emotions; there are {clips}."


def _controls(names: Sequence[str], labels: Sequence[str]) -> Controls:
    with gr.Row(equal_height=True):
        files = gr.File(
            label="Audio or video files", file_count="multiple", height=170, elem_id="ev-files", min_width=280
        )
        microphone = gr.Audio(
            label="Microphone",
            sources=["microphone"],
            type="filepath",
            format=None,
            buttons=[],
            elem_id="ev-microphone",
            min_width=280,
        )
    with gr.Row():
        model = gr.Dropdown(list(names), value=names[0], label="Model", elem_id="ev-model", min_width=200)
        lengths = [("What suits the clip", 0.0), *((f"{one:g} s", one) for one in WINDOWS[:6])]
        window = gr.Dropdown(lengths, value=0.0, label="Windows over time", elem_id="ev-window", min_width=200)
    with gr.Accordion("Options", open=False, elem_id="ev-options"):
        classes = gr.CheckboxGroup(
            list(labels),
            value=list(labels),
            label="Labels to tell apart",
            info="None ticked means all.",
            visible=bool(labels),
            elem_id="ev-classes",
        )
        abstain = gr.Slider(0, 0.95, value=0, step=0.05, label="No label below this probability", elem_id="ev-abstain")
        adapt = gr.Checkbox(
            label="Adapt probabilities to these clips together",
            info=adapt_info(0),
            interactive=False,
            elem_id="ev-adapt",
        )
        damaged = gr.Checkbox(label="Take what there is of damaged files", elem_id="ev-damaged")
    return Controls(files, microphone, model, window, classes, abstain, adapt, damaged)


def _views(status: gr.HTML) -> Views:
    messages = gr.HTML(elem_id="ev-messages")
    table = gr.HTML(js_on_load=CHOOSE, elem_id="ev-table")
    with gr.Row(elem_id="ev-downloads"):
        csv, json, features = (
            gr.DownloadButton(f"Download {name}", size="sm", visible=False, min_width=120, elem_id=f"ev-{kind}")
            for name, kind in (("CSV", "csv"), ("JSON", "json"), ("features (.npz)", "features"))
        )
        forget = gr.Button("Forget recordings", size="sm", visible=False, min_width=120, elem_id="ev-forget")
    card = gr.HTML(HINT, elem_id="ev-card")
    return Views(status, messages, table, card, csv, json, features, forget)
