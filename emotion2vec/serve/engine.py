"""What stands between requests and processes: who decodes, who computes, and how much may wait.

S: samples. W: windows. K: labels.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.errors import ConfigError
from emotion2vec.guesses import unknown
from emotion2vec.serve import decoder, worker
from emotion2vec.serve.child import Answer, Child
from emotion2vec.serve.errors import TOO_LARGE, UNPROCESSABLE, ProcessEndedError, RequestError
from emotion2vec.serve.metrics import Metrics
from emotion2vec.serve.options import ServeOptions
from emotion2vec.serve.streams import LiveStream

LOG = logging.getLogger(__name__)

TRIES = 2
"""How often a clip is computed whose process ends meanwhile."""


@dataclass(frozen=True)
class Clip:
    """A decoded file.

    Attributes:
        name: as whoever sent it called it.
        samples: (S,) float32 at 16 kHz.
        notes: what is to be said of it.
        origin: kind, sample rate in Hz and channels of the file; empty where that was not asked for.
    """

    name: str
    samples: np.ndarray
    notes: tuple[str, ...]
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Its length in s."""
        return self.samples.size / SAMPLE_RATE


class Room:
    """Memory that a request holds.

    Attributes:
        held: in bytes.
    """

    def __init__(self, engine: Engine):
        self._engine = engine
        self.held = 0

    def hold(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            RequestError: there is no room.
        """
        engine = self._engine
        if not engine.holds(count):
            raise engine.busy()
        engine.held_bytes += count
        self.held += count


class Engine:
    """Processes that decode, and one for each device that computes.

    Args:
        options: of the server.
        metrics: counts what happens.

    Attributes:
        models: what is known of each model, by its name.
        held_bytes: bodies and samples of all requests.
    """

    def __init__(self, options: ServeOptions, metrics: Metrics):
        self.options, self.limits, self.metrics = options, options.limits, metrics
        self.models: dict[str, dict[str, Any]] = {}
        self.held_bytes = self._requests = self._streams = 0
        self._numbers = itertools.count()
        self._decoders: asyncio.Queue[Child] = asyncio.Queue()
        self._workers: list[Child] = []
        self._all: list[Child] = []

    async def open(self) -> None:
        """Start the processes, and wait until they are ready.

        Raises:
            ConfigError: a model cannot be served.
        """
        restarted = self.metrics.restarts.inc
        arguments = (self.limits.decode_mb,)
        decoders = [Child(f"decoder {i}", decoder.main, arguments, restarted) for i in range(self.options.decoders)]
        self._all += decoders
        for device in self.options.device or (None,):
            given = (list(self.options.model), device, self.options.precision)
            self._workers.append(Child(f"worker of {device or 'the default device'}", worker.main, given, restarted))
        self._all += self._workers
        for one in self._workers:
            self.models = {model["name"]: model for model in (await _opened(one))["models"]}
        for one in decoders:
            await _opened(one)
            self._decoders.put_nowait(one)

    async def close(self) -> None:
        """End the processes."""
        await asyncio.gather(*(one.close() for one in self._all))

    @property
    def healthy(self) -> bool:
        """Whether some process can compute now."""
        return any(one.facts is not None for one in self._workers)

    def model(self, name: str | None) -> dict[str, Any]:
        """What is known of a model; the first one where no name is given.

        Raises:
            RequestError: it is not served.
        """
        if not name:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise RequestError(404, unknown("model", name, list(self.models)))
        return self.models[name]

    @contextmanager
    def admitted(self) -> Iterator[Room]:
        """Let a request in, with room for what it holds.

        Raises:
            RequestError: there are too many.
        """
        if self._requests >= self.limits.queue:
            raise self.busy()
        self._requests += 1
        self.metrics.waiting.set(self._requests)
        room = Room(self)
        try:
            yield room
        finally:
            self._requests -= 1
            self.held_bytes -= room.held
            self.metrics.waiting.set(self._requests)

    def holds(self, count: int) -> bool:
        """Whether there is room for so many bytes more."""
        return self.held_bytes + count <= self.limits.queue_mb * 1e6

    def too_large(self, clip: Clip, size: int) -> RequestError | None:
        """What is said where an answer about a clip would have so many bytes; None where it may."""
        most = self.limits.answer_mb
        if size <= most * 1e6:
            return None
        told = f"the answer would have {size / 1e6:.1f} MB, expected at most {most:g}"
        return RequestError(
            TOO_LARGE, f"{clip.name}: {told}; npy and safetensors, the last layer, or utterance are smaller"
        )

    def busy(self) -> RequestError:
        """What is said where there is no room."""
        return RequestError(429, "the server is busy; try again later", retry_after=self._wait())

    def _wait(self) -> float:
        """When there may be room again, in s: what waits, at the pace of late."""
        return max(1.0, self._requests * self.metrics.pace)

    async def decode(
        self, name: str, body: bytes, *, channel: int | None, accept_damaged: bool, describe: bool = False
    ) -> Clip:
        """Decode a file, and describe it where that is asked for.

        Raises:
            RequestError: it cannot be used.
        """
        facts = {
            "name": name,
            "max_seconds": self.limits.max_seconds,
            "channel": channel,
            "accept_damaged": accept_damaged,
            "describe": describe,
        }
        said, arrays = await self._decoded(facts, np.frombuffer(body, np.uint8))
        if "error" in said:
            raise RequestError(said["status"], said["error"])
        clip = Clip(name, arrays["samples"], tuple(said["notes"]), said.get("origin", {}))
        self.metrics.seconds.inc(clip.seconds)
        return clip

    async def _decoded(self, facts: Mapping[str, Any], body: np.ndarray) -> Answer:
        """Ask a process that decodes, which is ended where it takes too long or nobody waits any more."""
        child, most = await self._decoders.get(), self.limits.decode_seconds
        try:
            for _ in range(TRIES):
                await child.ready()
                try:
                    return await asyncio.wait_for(child.ask(facts, {"body": body}), most)
                except asyncio.TimeoutError:
                    child.kill()
                    reason = f"it takes longer than {most:g} s to be decoded"
                    raise RequestError(UNPROCESSABLE, f"{facts['name']}: {reason}") from None
                except asyncio.CancelledError:
                    child.kill()  # the next one shall not wait for it
                    raise
                except ProcessEndedError:
                    continue
        finally:
            self._decoders.put_nowait(child)
        reason = "whoever decoded it broke off: it is damaged, or needs too much memory"
        raise RequestError(UNPROCESSABLE, f"{facts['name']}: {reason}")

    async def compute(self, model: str, clip: Clip, what: Mapping[str, Any]) -> Answer:
        """Have a model compute what is asked of a clip; see `emotion2vec.serve.work`.

        Raises:
            RequestError: it cannot.
        """
        for _ in range(TRIES):
            child = min(self._workers, key=lambda one: (one.facts is None, one.asked))
            try:
                said, arrays = await child.ask({"model": model, **what}, {"samples": clip.samples})
            except ProcessEndedError:
                LOG.warning("%s: a process ended that computed it", clip.name)
                continue
            if "error" in said:
                raise RequestError(said["status"], f"{clip.name}: {said['error'].removeprefix('the audio: ')}")
            self.metrics.together.observe(said["together"])
            return said, arrays
        raise RequestError(503, f"{clip.name}: the processes ended that computed it; try again", retry_after=5.0)

    @asynccontextmanager
    async def stream(self, model: str, sample_rate: int, options: Mapping[str, float]) -> AsyncIterator[LiveStream]:
        """Open a live stream.

        Raises:
            RequestError: there are too many, or an option is wrong.
        """
        if self._streams >= self.limits.streams:
            raise RequestError(429, f"{self._streams} streams are open, expected at most that; try again later", 5.0)
        child = min(self._workers, key=lambda one: (one.facts is None, one.asked))
        self._streams += 1
        live = LiveStream(child, model, next(self._numbers))
        try:
            opening = live.tell("open", sample_rate=sample_rate, options=dict(options))
            try:
                await asyncio.wait_for(opening, self.limits.timeout)
            except asyncio.TimeoutError:
                raise RequestError(503, "no process can compute a stream now; try again later", 5.0) from None
            try:
                yield live
            finally:
                await live.leave()
        finally:
            self._streams -= 1


async def _opened(child: Child) -> dict[str, Any]:
    """What a process says of itself that is ready for the first time.

    Raises:
        ConfigError: it is never.
    """
    try:
        return await child.opened()
    except ProcessEndedError as error:
        raise ConfigError(str(error)) from error
