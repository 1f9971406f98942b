"""A live stream as the server sees it: what a worker is told of it, and what that answers."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from emotion2vec.serve.child import Child
from emotion2vec.serve.errors import ProcessEndedError, RequestError

LOG = logging.getLogger(__name__)


class LiveStream:
    """A stream that a worker computes, as long as that lives."""

    def __init__(self, child: Child, model: str, number: int):
        self._child, self._facts, self._open = child, {"model": model, "stream": number}, False
        self._generation = 0

    async def tell(self, do: str, samples: np.ndarray | None = None, **facts: Any) -> list[dict[str, Any]]:
        """Say something of the stream; the steps that are complete now.

        Raises:
            RequestError: it cannot go on.
        """
        if do == "open":
            await self._child.ready()
            self._generation = self._child.generation
        elif self._child.generation != self._generation:
            self._open = False
            raise RequestError(503, "the process ended that computed this stream; open it again")
        self._open = do in ("open", "push")
        try:
            said, _ = await self._child.ask(
                {**self._facts, "do": do, **facts}, {} if samples is None else {"samples": samples}
            )
        except ProcessEndedError:
            self._open = False
            raise RequestError(503, "the process ended that computed this stream; open it again") from None
        if "error" in said:
            self._open = do != "open" and self._open
            raise RequestError(said["status"], said["error"])
        steps: list[dict[str, Any]] = said["steps"]
        return steps

    async def leave(self) -> None:
        """Let it go, unless it has ended."""
        if self._open:
            try:
                await self.tell("leave")
            except RequestError as error:
                LOG.warning("a stream could not be closed: %s", error)
