"""What the page does: hears files, asks models, and keeps what was said for other options and views."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.serve.child import Answer
from emotion2vec.serve.engine import Engine
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.messages import WHOLE
from emotion2vec.serve.page.shelf import Heard, Shelf
from emotion2vec.serve.results import Question

LOG = logging.getLogger(__name__)

AT_ONCE = 8
"""Files that are read at once."""


@dataclass(frozen=True)
class Asked:
    """What the page's controls say.

    Attributes:
        model: its name.
        window: length of windows in s; None for one that suits the clip.
        classes: labels to tell apart; none for all.
        abstain: no label is given below this probability; 0 for always.
        adapt: whether probabilities are adapted to the clips.
        accept_damaged: whether what there is of damaged files is taken.
    """

    model: str
    window: float | None = None
    classes: Sequence[str] = ()
    abstain: float = 0.0
    adapt: bool = False
    accept_damaged: bool = False

    def question(self, window: float | None, *, adapt: bool = False) -> Question:
        """The same as a question to a server."""
        return Question(window, self.classes, self.abstain or None, adapt)


@dataclass
class Session:
    """What one open page has.

    Attributes:
        keys: of clips on the shelf, by path of the file and whether it was taken damaged.
        faults: what was wrong with files, in the same way.
        order: of what is shown.
        chosen: key of the clip that is shown in full.
        recorded: paths of all that was recorded.
    """

    keys: dict[tuple[str, bool], str] = field(default_factory=dict)
    faults: dict[tuple[str, bool], str] = field(default_factory=dict)
    order: list[tuple[str, bool]] = field(default_factory=list)
    chosen: str = ""
    recorded: list[str] = field(default_factory=list)

    def recordings(self, path: str | None) -> list[str]:
        """All recordings, with the one that is in the recorder now; None where it is empty."""
        if path and path not in self.recorded:
            self.recorded.append(path)
        return self.recorded

    def name(self, path: str) -> str:
        """What a file is called."""
        return f"Recording {self.recorded.index(path) + 1}" if path in self.recorded else Path(path).name


class Desk:
    """Stands between the page and the server's engine.

    Args:
        engine: decodes and computes.
        shelf: keeps clips.
    """

    def __init__(self, engine: Engine, shelf: Shelf):
        self.engine, self.shelf = engine, shelf

    async def hear(self, session: Session, paths: Sequence[str], asked: Asked) -> AsyncIterator[str]:
        """Hear the files that were not heard yet; after each comes the name of one that was.

        Args:
            session: gets clips and faults.
            paths: of uploaded files.
            asked: what the controls say.
        """
        session.order = [(path, asked.accept_damaged) for path in dict.fromkeys(paths)]
        known = {place for place, key in session.keys.items() if self.shelf.get(key) is not None}
        waiting = [place for place in session.order if place not in known and place not in session.faults]
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(place: tuple[str, bool]) -> str:
            async with turns:
                return await self._hear(session, place)

        tasks = [asyncio.create_task(one(place)) for place in waiting]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()

    async def _hear(self, session: Session, place: tuple[str, bool]) -> str:
        path, accept_damaged = place
        name = session.name(path)
        try:
            with self.engine.admitted() as room:
                room.hold(Path(path).stat().st_size)
                body = await asyncio.to_thread(Path(path).read_bytes)
                clip = await self.engine.decode(name, body, channel=None, accept_damaged=accept_damaged, describe=True)
                heard = await asyncio.to_thread(self.shelf.put, clip)
            session.keys[place] = heard.key
        except RequestError as error:
            session.faults[place] = str(error)
        except OSError as error:
            session.faults[place] = f"{name}: cannot be read: {error.strerror}"
        except Exception as error:
            LOG.exception("%s could not be heard", name)
            session.faults[place] = f"{name}: cannot be heard: {type(error).__name__}"
        return name

    def clips(self, session: Session) -> list[Heard]:
        """The clips that are shown."""
        found = [self.shelf.get(session.keys[place]) for place in session.order if place in session.keys]
        return [one for one in found if one is not None]

    def faults(self, session: Session) -> list[str]:
        """What is wrong with the files that are shown."""
        told = "tick “Take what there is of damaged files”"
        texts = [session.faults[place] for place in session.order if place in session.faults]
        return [text.replace("--accept-damaged (accept_damaged=True)", told) for text in texts]

    async def said(self, heard: Heard, model: str, window: float | None) -> Answer:
        """What a model says of a clip.

        Args:
            heard: the clip.
            model: its name.
            window: length of windows in s; None for the whole clip.

        Raises:
            RequestError: it cannot say anything.
        """
        place, whole = (model, window), (model, None)
        if place not in heard.said:
            both = whole not in heard.said and window is not None
            facts, arrays = await self._computed(heard, model, {"window": window, "whole": both})
            its = {name: rows for name, rows in arrays.items() if not name.startswith(WHOLE)}
            rest = {name.removeprefix(WHOLE): rows for name, rows in arrays.items() if name.startswith(WHOLE)}
            heard.said[place] = facts, its
            if rest:
                heard.said[whole] = {**facts, "window": None}, rest
        return heard.said[place]

    async def vector(self, heard: Heard, model: str) -> np.ndarray:
        """Features of a clip (D,): the mean of the last layer over time.

        Raises:
            RequestError: it has none.
        """
        if model not in heard.vectors:
            _, arrays = await self._computed(heard, model, {"choice": {"granularity": "utterance"}})
            heard.vectors[model] = arrays["utterance"]
        return heard.vectors[model]

    async def _computed(self, heard: Heard, model: str, what: Mapping[str, Any]) -> Answer:
        most = self.engine.limits.timeout
        with self.engine.admitted() as room:
            clip = await asyncio.to_thread(heard.clip)
            room.hold(clip.samples.nbytes)
            try:
                return await asyncio.wait_for(self.engine.compute(model, clip, what), most)
            except asyncio.TimeoutError:
                raise RequestError(503, f"{heard.name}: takes longer than {most:g} s to be computed") from None
