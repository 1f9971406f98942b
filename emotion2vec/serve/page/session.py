"""What one open page has, and whose work is done for it: that of the newest event alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Update = TypeVar("Update")

Place = tuple[str, bool]
"""Path of a file, and whether it is taken damaged."""


@dataclass(eq=False)
class Session:
    """What one open page has.

    Attributes:
        keys: of clips on the shelf.
        faults: what was wrong with files, for good.
        passing: what kept files from being heard at the last event; they are tried again at the next.
        opened: paths of all files that the page has, recordings too.
        order: of what is shown.
        chosen: key of the clip that is shown in full.
        pair: keys of the two clips that are compared.
        recorded: paths of all that was recorded.
        output: folder of the files to download; empty where there is none.
        work: what the newest event does.
    """

    keys: dict[Place, str] = field(default_factory=dict)
    faults: dict[Place, str] = field(default_factory=dict)
    passing: dict[Place, str] = field(default_factory=dict)
    opened: Sequence[str] = ()
    order: Sequence[Place] = ()
    chosen: str = ""
    pair: tuple[str | None, ...] = (None, None)
    recorded: list[str] = field(default_factory=list)
    output: str = ""
    work: asyncio.Task[None] | None = None

    def recordings(self, path: str | None) -> list[str]:
        """All recordings, with the one that is in the recorder now; None where it is empty."""
        if path and path not in self.recorded:
            self.recorded.append(path)
        return self.recorded

    def name(self, path: str) -> str:
        """What a file is called."""
        return f"Recording {self.recorded.index(path) + 1}" if path in self.recorded else Path(path).name

    def named(self) -> set[str]:
        """Paths of files, and of the folder, that the page needs."""
        return {*self.opened, *self.recorded, *([self.output] if self.output else [])}

    def shown(self) -> set[str]:
        """Keys of clips that the page shows."""
        return {self.keys[place] for place in self.order if place in self.keys}

    def kept(self, keys: Sequence[str]) -> list[str | None]:
        """The two clips that are compared, of those that there are now: the same ones as far as they are left."""
        pair = [key if key in keys else None for key in self.pair]
        others = iter([key for key in keys if key not in pair])
        return [key if key is not None else next(others, None) for key in pair]


async def newest(session: Session, updates: AsyncIterator[Update], nothing: Update) -> AsyncIterator[Update]:
    """What an event of a session has to say, as long as no newer one has begun, which ends its work.

    Args:
        session: whose work it is.
        updates: do the work.
        nothing: said last where a newer one has begun, as Gradio says the last update again at the end.
    """
    said = asyncio.Queue[Update | None]()
    older = session.work if session.work is not None and not session.work.done() else None
    if older is not None:
        older.cancel()

    async def work() -> None:
        try:
            if older is not None:
                await asyncio.wait({older})
            async for update in updates:
                said.put_nowait(update)
        finally:
            said.put_nowait(None)

    task = session.work = asyncio.create_task(work())
    try:
        while (update := await said.get()) is not None and session.work is task:
            yield update
        if session.work is task:
            await task  # raises what went wrong
        else:
            yield nothing
    finally:
        task.cancel()
