"""A desk of the page whose engine only pretends to hear and to compute."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from emotion2vec.serve.engine import Clip
from emotion2vec.serve.options import Limits
from emotion2vec.serve.page.desk import Asked, Desk
from emotion2vec.serve.page.session import Session
from emotion2vec.serve.page.shelf import Shelf
from emotion2vec.serve.page.uploads import Uploads
from emotion2vec.serve.page.views import View, view_of

CLIP = Clip("a.wav", np.full(16_000, 0.1, np.float32), (), {"kind": "WAV", "rate": 16_000, "channels": 1})


class Engine:
    """Answers what it is told to: `hears` files and `computes` clips."""

    def __init__(self, **limits: float):
        self.limits = Limits(**limits)  # type: ignore[arg-type]
        self.hears: Callable[[str], Clip] = lambda name: Clip(name, CLIP.samples, (), CLIP.origin)
        self.computes: Callable[[str], None] = lambda name: None
        self.asked: list[dict[str, Any]] = []
        self.slow = 0.0
        heads = {"": {"labels": ["anger", "joy"], "values": False}}
        self.facts = {"name": "m", "heads": heads, "normalizes": False, "longest": None, "parameters": 1}
        self.facts |= {"precision": "fp32", "device": "cpu"}

    def model(self, _: str) -> dict[str, Any]:
        return self.facts

    @contextmanager
    def admitted(self) -> Iterator[Any]:
        yield SimpleNamespace(hold=lambda count: None)

    async def decode(self, name: str, body: bytes, **_: Any) -> Clip:
        await asyncio.sleep(self.slow)
        return self.hears(name)

    async def compute(self, model: str, clip: Clip, what: dict[str, Any]) -> Any:
        self.asked.append(what)
        await asyncio.sleep(0.1 if model == "slow" else 0)
        self.computes(clip.name)
        rows = 1 if what["window"] is None else int(np.ceil(clip.seconds / what["window"]))
        scores = np.tile([0.7, 0.3], (rows, 1))
        more = {"whole:": scores[:1]} if what.get("whole") else {}
        return {"window": what["window"]}, {"": scores, **more}


def desk_in(folder: Path, engine: Engine) -> Desk:
    """A desk whose files lie in a folder."""
    for name in ("clips", "gradio"):
        (folder / name).mkdir()
    shelf = Shelf(folder / "clips")
    return Desk(engine, shelf, Uploads(folder / "gradio", 1000.0, shelf))  # type: ignore[arg-type]


def sent(desk: Desk, *names: str) -> list[str]:
    """Files that were uploaded."""
    paths = [desk.uploads.folder / name for name in names]
    for path in paths:
        path.write_bytes(b"x" * 100)
    return [str(path) for path in paths]


def heard(desk: Desk, session: Session, paths: list[str]) -> list[str]:
    """Names of files that were heard now."""

    async def all_of_them() -> list[str]:
        return [name async for name in desk.hear(session, paths, Asked("m"))]

    return asyncio.run(all_of_them())


def viewed(desk: Desk, session: Session, asked: Asked | None = None) -> View:
    return asyncio.run(view_of(desk, session, asked or Asked("m")))
