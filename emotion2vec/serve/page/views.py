"""What the page shows of a session: tables, the card of one clip, and files to download.

N: clips. D: model width.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.results.rows import Columns, TableRows
from emotion2vec.extraction.writers.spreadsheets import open_table
from emotion2vec.files import write_text
from emotion2vec.serve.child import Answer
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.page.cards import clip_card, clips_table, sentences
from emotion2vec.serve.page.desk import Asked, Desk, is_final
from emotion2vec.serve.page.said import Panel, done_to, panels_of, warnings_of, window_for
from emotion2vec.serve.page.session import Session
from emotion2vec.serve.page.shelf import Heard
from emotion2vec.serve.page.timeline import timeline
from emotion2vec.serve.results import Question, objects_of, rows_of, told
from emotion2vec.tasks.adaptation import LEAST_CLIPS

NO_HEAD = "{} has no head, so there are no labels: its features can be downloaded, and clips compared."
"""What is said of a model that knows no labels."""

ADAPTED = "Probabilities of whole clips are adapted to these clips; those over time are as they were."
"""What is said where that is so."""


@dataclass
class View:
    """What is shown.

    Attributes:
        messages: HTML of what went wrong.
        table: HTML of several clips; empty for one.
        card: HTML of the clip that is shown in full.
        csv: file of all clips' labels; None where there are none.
        json: the same.
        features: file of all clips' features; None where they were not computed.
    """

    messages: str = ""
    table: str = ""
    card: str = ""
    csv: str | None = None
    json: str | None = None
    features: str | None = None


async def view_of(desk: Desk, session: Session, asked: Asked) -> View:
    """Everything that is shown of a session.

    Args:
        desk: asks models, and takes files to download.
        session: whose clips were heard.
        asked: what the controls say.
    """
    model = desk.engine.model(asked.model)
    clips, faults, problems = desk.clips(session), desk.faults(session), desk.problems(session)
    has_head = "" in model["heads"]
    answers = await asyncio.gather(*(_answer(desk, one, asked, has_head, len(clips) == 1) for one in clips))
    for one in answers:
        if isinstance(one, RequestError):
            (faults if is_final(one) else problems).append(str(one))
    heard = [(clip, one) for clip, one in zip(clips, answers, strict=True) if not isinstance(one, RequestError)]
    output = desk.uploads.folder / secrets.token_urlsafe(16)
    older, session.output = session.output, str(output) if heard else ""
    try:
        if not heard:
            return View(messages=sentences([*dict.fromkeys(problems), *faults], "alert"))
        return await _view(desk, session, asked, heard, faults, problems)
    finally:
        if older:
            shutil.rmtree(older, ignore_errors=True)


async def _view(
    desk: Desk,
    session: Session,
    asked: Asked,
    heard: Sequence[tuple[Heard, Answer]],
    faults: Sequence[str],
    problems: Sequence[str],
) -> View:
    """What is shown where there are clips."""
    model, output = desk.engine.model(asked.model), Path(session.output)
    has_head = "" in model["heads"]
    chosen = next((clip for clip, _ in heard if clip.key == session.chosen), heard[0][0])
    session.chosen = chosen.key
    view, notes, problems = View(), list[str](), list(problems)
    said: Sequence[dict[str, Any] | None] = [None for _ in heard]
    output.mkdir(parents=True)
    try:
        if has_head:
            question = asked.question(None, adapt=asked.adapt and len(heard) >= LEAST_CLIPS)
            question.check(model, float("inf"))
            failed = [*faults, *dict.fromkeys(problems)]
            said, notes, view.csv, view.json = await asyncio.to_thread(_told, output, model, question, heard, failed)
            notes += [ADAPTED] if question.adapt else []
        else:
            notes.append(NO_HEAD.format(model["name"]))
            view.features = await _features(desk, [clip for clip, _ in heard], model["name"], output)
    except RequestError as error:
        problems.append(str(error))
    places = [clip.key for clip, _ in heard]
    try:
        view.card = await _card(desk, chosen, asked, said[places.index(chosen.key)])
    except RequestError as error:
        problems.append(str(error))
    if len(heard) + len(faults) > 1:
        values = has_head and model["heads"][""]["values"]
        rows = [(clip, one) for (clip, _), one in zip(heard, said, strict=True)]
        view.table = await asyncio.to_thread(clips_table, rows, faults, chosen.key, values)
    view.messages = sentences([*dict.fromkeys(problems)], "alert") + sentences(notes, "note")
    return view


async def _answer(desk: Desk, heard: Heard, asked: Asked, has_head: bool, alone: bool) -> Answer | RequestError:
    """What a model says of a whole clip, or why it cannot; nothing of one without a head."""
    if not has_head:
        return {}, {}
    try:
        if alone:  # it will be shown over time, and both are of the same pass
            await desk.said(heard, asked.model, window_for(heard.seconds, asked.window)[0])
        return await desk.said(heard, asked.model, None)
    except RequestError as error:
        return error


async def _card(desk: Desk, heard: Heard, asked: Asked, whole: Mapping[str, Any] | None) -> str:
    """The card of one clip."""
    model = desk.engine.model(asked.model)
    window, text = window_for(heard.seconds, asked.window)
    answer = None if whole is None else await desk.said(heard, asked.model, window)

    def drawn() -> str:
        warnings, panels = warnings_of(heard), list[Panel]()
        if whole is not None and answer is not None:
            ((windows,), _) = told(model, asked.question(window), [(heard, answer)])
            panels = panels_of(model, whole, windows["windows"])
            warnings += [text] if text else []
        picture = timeline(heard, panels, f"audio/{heard.key}.wav")
        return clip_card(heard, panels, warnings, done_to(heard, model), picture)

    return await asyncio.to_thread(drawn)


def _told(
    folder: Path,
    model: Mapping[str, Any],
    question: Question,
    heard: Sequence[tuple[Heard, Answer]],
    failed: Sequence[str],
) -> tuple[list[dict[str, Any]], list[str], str, str]:
    """What a model says of whole clips, what is to be said of it, and files of it as `predict` and a server have them.

    Raises:
        RequestError: they cannot be adapted.
    """
    maker, rows, notes = rows_of(model, question, heard)
    items = [Utterance(id=clip.name, audio=clip.name) for clip, _ in heard]
    columns, table = Columns(maker, items), folder / "emotions.csv"
    with closing(open_table(table, ".csv", columns.kinds)) as opened:
        writer = TableRows(opened, columns)
        for item, its in zip(items, rows, strict=True):
            writer.add(item, its)
    clips = objects_of(question, heard, rows)
    answer: dict[str, Any] = {"model": model["name"], "clips": clips}
    answer |= {"failed": list(failed)} if failed else {}
    path = folder / "emotions.json"
    write_text(path, json.dumps(answer, indent=1, ensure_ascii=False))
    return clips, notes, str(table), str(path)


async def _features(desk: Desk, clips: Sequence[Heard], model: str, folder: Path) -> str:
    """Write features of all clips: names `name` (N,), and `utterance` (N, D)."""
    vectors = await asyncio.gather(*(desk.vector(one, model) for one in clips))
    path = folder / "features.npz"
    names = np.array([one.name for one in clips])
    await asyncio.to_thread(np.savez, path, name=names, utterance=np.stack(vectors))
    return str(path)
