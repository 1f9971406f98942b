"""What the page says of clips, as HTML: of one in full, of several as a table; every text from outside is escaped.

W: windows. K: labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from emotion2vec.serve.page.said import Panel
from emotion2vec.serve.page.shelf import Heard
from emotion2vec.units import counted, duration


def sentences(texts: Sequence[str], kind: str) -> str:
    """Sentences that readers of screens are told at once.

    Args:
        texts: none for nothing.
        kind: `alert` for what went wrong, `note` for what is to be kept in mind.
    """
    said = "".join(f"<p>{escape(_sentence(text))}</p>" for text in texts)
    return f'<div class="ev-{kind}" role="{kind}">{said}</div>' if said else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def clip_card(heard: Heard, panels: Sequence[Panel], warnings: Sequence[str], done: Sequence[str], picture: str) -> str:
    """All that is said of one clip.

    Args:
        heard: the clip.
        panels: what a model says of it.
        warnings: what is to be kept in mind.
        done: what was done to its audio.
        picture: see `timeline`.
    """
    steps = "".join(f"<li>{escape(step)}</li>" for step in done)
    tables = "".join(_windows(panel) for panel in panels)
    whole = "".join(_whole(panel) for panel in panels)
    return (
        f'<section class="ev-card" aria-label="{escape(heard.name)}"><h2>{escape(heard.name)}</h2>'
        f'{sentences(warnings, "note")}<div class="ev-sides"><div class="ev-side">{whole}'
        f'<h3>What was done to the audio</h3><ul class="ev-done">{steps}</ul></div>'
        f'<div class="ev-main">{picture}{tables}</div></div></section>'
    )


def _whole(panel: Panel) -> str:
    """What is said of a whole clip: the label, and bars."""
    low, high = panel.range
    order = range(len(panel.labels))
    if not panel.values:
        order = sorted(order, key=lambda place: -panel.whole[place])  # type: ignore[assignment]
    bars = "".join(
        f'<li><span class="ev-name">{escape(panel.labels[place])}</span><span class="ev-track" aria-hidden="true">'
        f'<i style="width:{100 * (panel.whole[place] - low) / (high - low):.1f}%;--c:{panel.colours[place]}"></i>'
        f'</span><span class="ev-value">{escape(panel.shown(panel.whole[place]))}</span></li>'
        for place in order
    )
    title = f"<h3>{escape(panel.title or 'The whole clip')}</h3>"
    lead = ""
    if not panel.values:
        label = panel.label or "no label"
        share = panel.shown(max(panel.whole))
        lead = f'<p class="ev-lead">{escape(label)} <b>{escape(share)}</b></p>'
    return f'{title}{lead}<ul class="ev-bars">{bars}</ul>'


def _windows(panel: Panel) -> str:
    """What is said of windows, as a table."""
    head = "".join(f'<th scope="col">{escape(label)}</th>' for label in panel.labels)
    rows = "".join(
        f'<tr><th scope="row">{start:.2f} to {end:.2f}</th>'
        f"{''.join(f'<td>{escape(panel.shown(one))}</td>' for one in row)}</tr>"
        for (start, end), row in zip(pairwise(panel.edges), panel.rows, strict=True)
    )
    title = f"Windows of {panel.edges[1] - panel.edges[0]:.2f} s as a table"
    return (
        f'<details class="ev-details"><summary>{escape(f"{panel.title}: {title}" if panel.title else title)}</summary>'
        f'<div class="ev-wide" tabindex="0" role="region" aria-label="Table of windows"><table><thead><tr>'
        f'<th scope="col">s</th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def clips_table(
    clips: Sequence[tuple[Heard, Mapping[str, Any] | None]], failed: Sequence[str], chosen: str, values: bool
) -> str:
    """Several clips as a table, whose names are buttons that show them.

    Args:
        clips: with what a model says of each; None of a model without a head.
        failed: sentences of files that could not be used.
        chosen: key of the clip that is shown.
        values: whether a model predicts values.
    """
    rows = "".join(_clip_row(heard, said, heard.key == chosen, values) for heard, said in clips)
    rows += "".join(f'<tr class="ev-failed"><td colspan="5">{escape(_sentence(text))}</td></tr>' for text in failed)
    caption = counted(len(clips), "clip")
    caption += f", {counted(len(failed), 'file')} could not be used" if failed else ""
    what = ("Values", "") if values else ("Label", "Probability")
    return (
        '<div class="ev-wide" role="region" tabindex="0" aria-label="Table of clips"><table class="ev-clips">'
        f"<caption>{caption}</caption>"
        f'<thead><tr><th scope="col">Clip</th><th scope="col" class="ev-extra">Length</th>'
        f'<th scope="col">{what[0]}</th><th scope="col">{what[1]}</th>'
        f'<th scope="col" class="ev-extra">All labels</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _clip_row(heard: Heard, said: Mapping[str, Any] | None, chosen: bool, values: bool) -> str:
    label, share, stack = "", "", ""
    if said is not None and values:
        label = ", ".join(f"{name} {score:.2f}" for name, score in said["scores"].items())
    elif said is not None:
        panel = Panel("", list(said["scores"]), False, (), (), list(said["scores"].values()), said["label"])
        label, share = said["label"] or "no label", panel.shown(said["confidence"])
        parts = zip(panel.labels, panel.whole, panel.colours, strict=True)
        stack = "".join(f'<i style="width:{100 * one:.1f}%;--c:{colour}" title="{escape(name)}"></i>'
                        for name, one, colour in parts)  # fmt: skip
        words = ", ".join(f"{name} {panel.shown(one)}" for name, one in said["scores"].items())
        stack = f'<span class="ev-stack" role="img" aria-label="{escape(words)}">{stack}</span>'
    note = f"<small>{escape('; '.join(heard.notes))}</small>" if heard.notes else ""
    return (
        f'<tr{" class=ev-chosen" * chosen}><th scope="row"><button type="button" data-key="{heard.key}" '
        f'aria-pressed="{str(chosen).lower()}">{escape(heard.name)}</button>{note}</th>'
        f'<td class="ev-extra">{duration(heard.seconds)}</td><td>{escape(label)}</td><td>{escape(share)}</td>'
        f'<td class="ev-extra">{stack}</td></tr>'
    )
