"""What a model says of one clip, for the page's pictures and tables.

W: windows. K: labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.windows import Chunking
from emotion2vec.extraction.results.timelines.palette import looks_of
from emotion2vec.serve.page.shelf import Heard
from emotion2vec.units import counted, duration

SHORT = 1.0
"""Of less speech than this, in s, nobody can say much."""

WINDOWS = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Lengths that windows may have, in s."""

FEW, MOST = 120, 2000
"""Windows that a picture has where it chooses their length, at most; and how many it can have."""

BRIEF = 3.0
"""Clips below this have windows of half the length that others have at least, in s."""


@dataclass(frozen=True)
class Panel:
    """What one head says of a clip over time.

    Attributes:
        title: what it tells; empty for the main head.
        labels: K names.
        values: whether scores are values, which are no shares.
        edges: (W + 1) where windows begin, and the last one ends, in s.
        rows: W of K scores.
        whole: K scores of the whole clip.
        label: of the whole clip; None where it is below what was asked for, or scores are values.
    """

    title: str
    labels: Sequence[str]
    values: bool
    edges: Sequence[float]
    rows: Sequence[Sequence[float]]
    whole: Sequence[float]
    label: str | None

    def shown(self, score: float) -> str:
        """A score as people read it."""
        if self.values:
            return f"{score:.2f}"
        return "< 1 %" if 0 < score < 0.005 else f"{100 * score:.0f} %"

    @property
    def colours(self) -> list[str]:
        """K colours, as CSS has them."""
        return [f"rgb({','.join(str(round(255 * part)) for part in look.colour)})" for look in looks_of(self.labels)]

    @property
    def range(self) -> tuple[float, float]:
        """What the height of a picture stands for."""
        if not self.values:
            return 0.0, 1.0
        scores = [score for row in [*self.rows, self.whole] for score in row]
        low, high = min(scores), max(scores)
        return low - 0.05 * (high - low or 1.0), high + 0.05 * (high - low or 1.0)


def panels_of(model: Mapping[str, Any], whole: Mapping[str, Any], windows: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """What all heads of a model say of a clip.

    Args:
        model: what is known of it.
        whole: what it says of the clip, as `serve.results.told` has it.
        windows: what it says of its windows.
    """
    edges = [*(one["start"] for one in windows), windows[-1]["end"]]
    found = []
    for name, head in model["heads"].items():
        said = [one if not name else one["further"][name] for one in (whole, *windows)]
        labels = list(said[0]["scores"])
        rows = [list(one["scores"].values()) for one in said]
        found.append(Panel(name, labels, head["values"], edges, rows[1:], rows[0], said[0].get("label")))
    return found


def window_for(seconds: float, asked: float | None) -> tuple[float, str]:
    """The length of windows of a clip, in s, and what is to be said of it.

    Args:
        seconds: length of the clip.
        asked: for; None for one that suits it.
    """
    if asked is None:
        return _least(max(seconds / FEW, WINDOWS[0] if seconds < BRIEF else WINDOWS[1])), ""
    if seconds / asked <= MOST:
        return asked, ""
    found = _least(seconds / MOST)
    return found, f"Windows of {asked:g} s are too many for a picture of {duration(seconds)}: these have {found:g} s."


def _least(seconds: float) -> float:
    """The shortest length that is not below so many s."""
    return next((one for one in WINDOWS if one >= seconds), WINDOWS[-1])


def warnings_of(heard: Heard) -> list[str]:
    """What makes a clip a bad one to judge."""
    found = [f"{heard.name}: {note}." for note in heard.notes]
    if heard.is_silent:
        found.append(f"{heard.name} is silent: whatever a model says of it means nothing.")
    elif heard.seconds < SHORT:
        length = f"{1000 * heard.seconds:.0f} ms"
        found.append(f"{heard.name} has {length} of sound: of less than {SHORT:g} s nobody can say much.")
    return found


def done_to(heard: Heard, model: Mapping[str, Any]) -> list[str]:
    """What was done to the audio of a clip before the model heard it, in the order in which it was done."""
    origin = heard.origin
    rate, channels = origin["rate"], origin["channels"]
    kind = origin["kind"] or "audio"
    steps = [f"Read as {kind}: {duration(heard.seconds)}, {rate / 1000:g} kHz, {counted(channels, 'channel')}"]
    if channels > 1:
        louder = any("the louder one" in note for note in heard.notes)
        steps.append("The louder channel taken" if louder else f"Mean of {channels} channels taken")
    if rate != SAMPLE_RATE:
        steps.append(f"Resampled to {SAMPLE_RATE / 1000:g} kHz")
    if model["normalizes"]:
        steps.append("Brought to zero mean and unit variance")
    chunking = Chunking().within(model["longest"])
    if heard.seconds > chunking.chunk_seconds:
        steps.append(f"Cut into windows of {chunking.chunk_seconds:g} s that overlap by {chunking.chunk_overlap:g} s")
    size = f"{model['parameters'] / 1e6:.1f} M parameters"
    return [*steps, f"Encoded by {model['name']}: {size}, {model['precision']} on {model['device']}"]
