"""What the page does: hears files, asks models, and keeps what was said for other options and views."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.serve.child import Answer
from emotion2vec.serve.engine import Engine
from emotion2vec.serve.errors import RequestError
from emotion2vec.serve.messages import WHOLE
from emotion2vec.serve.page.session import Place, Session
from emotion2vec.serve.page.shelf import Heard, Shelf
from emotion2vec.serve.page.uploads import Uploads
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


class Desk:
    """Stands between the page and the server's engine.

    Args:
        engine: decodes and computes.
        shelf: keeps clips.
        uploads: keeps files.
    """

    def __init__(self, engine: Engine, shelf: Shelf, uploads: Uploads):
        self.engine, self.shelf, self.uploads = engine, shelf, uploads

    async def hear(self, session: Session, paths: Sequence[str], asked: Asked) -> AsyncIterator[str]:
        """Hear the files that were not heard yet; after each comes the name of one that was.

        Args:
            session: gets clips and faults.
            paths: of uploaded files; those beyond `max_files` are left out.
            asked: what the controls say.
        """
        session.opened = list(dict.fromkeys(paths))
        session.order = [(path, asked.accept_damaged) for path in session.opened[: self.engine.limits.max_files]]
        session.passing.clear()
        self.uploads.know(session)
        known = {place for place, key in session.keys.items() if self.shelf.get(key) is not None}
        waiting = [place for place in session.order if place not in known and place not in session.faults]
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(place: Place) -> str:
            async with turns:
                return await self._hear(session, place)

        tasks = [asyncio.create_task(one(place)) for place in waiting]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()

    async def _hear(self, session: Session, place: Place) -> str:
        name, most = session.name(place[0]), self.engine.limits.timeout
        try:
            heard = await asyncio.wait_for(self._heard(name, place), most)
            session.keys[place] = heard.key
        except RequestError as error:
            faults = session.faults if is_final(error) else session.passing
            faults[place] = str(error)
        except asyncio.TimeoutError:
            session.passing[place] = f"{name}: takes longer than {most:g} s to be heard; it is tried again"
        except OSError as error:
            session.passing[place] = f"{name}: cannot be read: {error.strerror}"
        except Exception as error:
            LOG.exception("%s could not be heard", name)
            session.passing[place] = f"{name}: cannot be heard: {type(error).__name__}"
        return name

    async def _heard(self, name: str, place: Place) -> Heard:
        path, accept_damaged = place
        with self.engine.admitted() as room:
            room.hold(Path(path).stat().st_size)
            body = await asyncio.to_thread(Path(path).read_bytes)
            clip = await self.engine.decode(name, body, channel=None, accept_damaged=accept_damaged, describe=True)
            return await asyncio.to_thread(self.shelf.put, clip)

    def forget(self, session: Session, paths: Sequence[str]) -> None:
        """Remove files that were recorded, and what was heard of them."""
        for place in [place for place in session.keys if place[0] in paths]:
            self.shelf.remove(session.keys.pop(place))
        session.opened = [path for path in session.opened if path not in paths]
        session.order = [place for place in session.order if place[0] not in paths]
        self.uploads.remove(paths)

    def clips(self, session: Session) -> list[Heard]:
        """The clips that are shown."""
        found = [self.shelf.get(session.keys[place]) for place in session.order if place in session.keys]
        return [one for one in found if one is not None]

    def faults(self, session: Session) -> list[str]:
        """What is wrong with the files that are shown."""
        told = "tick “Take what there is of damaged files”"
        texts = [session.faults[place] for place in session.order if place in session.faults]
        return [text.replace("--accept-damaged (accept_damaged=True)", told) for text in texts]

    def problems(self, session: Session) -> list[str]:
        """Why files were not heard that may be fine."""
        count, most = len(session.opened), len(session.order)
        beyond = [f"{count} files are open, expected at most {most}: the first {most} are used"] if count > most else []
        return [*beyond, *(session.passing[place] for place in session.order if place in session.passing)]

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
            what = {"window": window, **({"whole": True} if both else {})}  # else the same as requests ask
            facts, arrays = await self._computed(heard, model, what)
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


def is_final(error: RequestError) -> bool:
    """Whether it would be the same at another time, as it is of what was asked and not of the time that it took."""
    late = isinstance(error.__context__, asyncio.TimeoutError)
    return 400 <= error.status < 429 and error.status != 408 and not late
