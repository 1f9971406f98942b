"""Features of live audio: chunks of samples in, frames out, a stated time later.

Whole-utterance normalization is impossible while the utterance goes on, so the mean and variance of all that was heard
so far take its place; and a frame sees only so much of what follows it. docs/extraction.md says what that changes.

S: samples. t: frames of one step. D: model width.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.extraction.encode.ready import DTYPES, Ready, ready_model
from emotion2vec.extraction.options import ComputeOptions, check_options
from emotion2vec.extraction.sources.decoding import Statistics
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.notebooks import Shown, Table, listed


@dataclass(frozen=True, eq=False, repr=False)
class StreamedFeatures(Shown):
    """What one step of a stream gave.

    Attributes:
        start: time of the first frame, in s from the start of the stream.
        frames: (t, D) float32, 50 per second; they follow the frames of the step before without a gap.
        utterance: (D,) float32 mean of all frames of the stream so far.
        scores: probabilities of the head's labels, or its values, of what the step has seen up to its last frame: its
            hop and the context before it; empty without a head that reads the last layer.
    """

    start: float
    frames: np.ndarray
    utterance: np.ndarray
    scores: dict[str, float]

    def _said(self) -> str:
        count, width = self.frames.shape[0], self.frames.shape[-1]
        best = [f"{name} {score:.2f}" for name, score in sorted(self.scores.items(), key=lambda pair: -pair[1])]
        return f"{count} frames, {width} channels, from {self.start:.2f} s" + f"; {listed(best, 3)}" * bool(best)

    def _table(self) -> Table:
        return ("score of", "score"), [[name, f"{score:.4f}"] for name, score in self.scores.items()]


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """How a stream is cut.

    Attributes:
        hop: audio between two steps, in s: less costs more computing.
        lookahead: audio after a frame that it may see, in s.
        context: audio before a step's first frame that is seen again, in s.
    """

    hop: float = 0.5
    lookahead: float = 0.5
    context: float = 5.0

    @property
    def latency(self) -> float:
        """Longest time from the end of a frame's own 25 ms to its step, in s, without the computing."""
        return self.hop + self.lookahead

    def faults(self) -> list[str]:
        """What is wrong with them."""
        faults = [] if 0.02 <= self.hop < float("inf") else [f"hop is {self.hop!r}, expected at least 0.02 s"]
        for name in ("lookahead", "context"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                faults.append(f"{name} is {value!r}, expected 0 s or more")
        return faults


class Stream:
    """Features and labels of live audio that is pushed, as a service gets it.

    It lets go of its model at its end: use it in a `with` block, or call `finish`.

    Args:
        sample_rate: of what is pushed, in Hz.
        model: a model, what `load_model` takes, or what `ready_model` gives, which several streams can share; by
            default the one that ships with the package.
        options: hop, lookahead and context.
        precision: `fp32`, `bf16`, `fp16`, `int8` (on a CPU) or `auto`.
        device: as for `extract_features`.

    Raises:
        ConfigError: an option is wrong.
        CheckpointError: the model cannot be loaded.
    """

    def __init__(
        self,
        sample_rate: int,
        *,
        model: str | Path | SpeechEncoder | Ready = DEFAULT_MODEL,
        options: StreamOptions | None = None,
        precision: str = "fp32",
        device: str | None = None,
    ):
        import soxr

        options = options or StreamOptions()
        check_options(ComputeOptions(precision=precision).faults() + options.faults())
        if not isinstance(sample_rate, int | float) or not sample_rate > 0:
            raise ConfigError(f"sample_rate is {sample_rate!r}, expected Hz")
        self._resampler = soxr.ResampleStream(sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        self._model = ExitStack()
        ready = model if isinstance(model, Ready) else self._model.enter_context(ready_model(model, device, precision))
        self._state = _Stream(ready.model, DTYPES[ready.precision], options)
        self._heard, self._rest, self._open = 0, b"", True

    def push(self, chunk: np.ndarray | bytes) -> list[StreamedFeatures]:
        """Hear more, and give the steps that are complete now.

        Args:
            chunk: mono samples (S,), floats in −1 … 1 or int16, or bytes of 16-bit samples, the low byte first, which
                may end between the two bytes of one.

        Raises:
            AudioError: samples are not finite, or of a kind that is not known.
            ConfigError: the stream has ended.
        """
        if not self._open:
            raise ConfigError("this stream has ended, expected a new one for more audio")
        samples = self._samples(chunk)
        return self._steps(self._resampler.resample_chunk(samples))

    def finish(self) -> list[StreamedFeatures]:
        """End the stream, and give what is left of it."""
        if not self._open:
            return []
        self._open = False
        try:
            if self._rest:
                raise AudioError("the stream ends within a sample: an odd number of bytes was pushed")
            steps = self._steps(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            last = self._state.step(final=True)
            return steps if last is None else [*steps, last]
        finally:
            self._model.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self._open = False
        self._model.close()

    def _steps(self, block: np.ndarray) -> list[StreamedFeatures]:
        """The steps that a block at 16 kHz completes."""
        self._state.add(block)
        return list(iter(self._state.step, None))

    def _samples(self, chunk: np.ndarray | bytes) -> np.ndarray:
        """A chunk as float32."""
        number, self._heard = self._heard, self._heard + 1
        if isinstance(chunk, bytes | bytearray | memoryview):
            whole = self._rest + bytes(chunk)
            self._rest = whole[len(whole) // 2 * 2 :]
            chunk = np.frombuffer(whole[: len(whole) // 2 * 2], "<i2")
        samples = np.asarray(chunk)
        if samples.ndim != 1:
            raise AudioError(f"chunk {number}: shape is {samples.shape}, expected (samples,)")
        if samples.dtype == np.int16:
            samples = samples / 32768
        if samples.dtype.kind != "f" or not np.isfinite(samples).all():
            raise AudioError(f"chunk {number}: expected finite floats or int16, found {samples.dtype}")
        return samples.astype(np.float32)


def stream_features(
    chunks: Iterable[np.ndarray | bytes],
    sample_rate: int,
    *,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    **settings: Any,
) -> Iterator[StreamedFeatures]:
    """Extract features of live audio as it comes.

    Args:
        chunks: what `Stream.push` takes, of any length each; the iterator may wait for them.
        sample_rate: their rate, in Hz.
        model: as for `Stream`.
        settings: `options`, `precision` and `device` of `Stream`.

    Yields:
        The frames of each hop, and what is left at the end.

    Raises:
        AudioError: as `Stream.push`.
        ConfigError: as `Stream`.
        CheckpointError: as `Stream`.
    """
    with Stream(sample_rate, model=model, **settings) as stream:
        for chunk in chunks:
            yield from stream.push(chunk)
        yield from stream.finish()


async def astream_features(
    chunks: AsyncIterable[np.ndarray | bytes],
    sample_rate: int,
    *,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    **settings: Any,
) -> AsyncIterator[StreamedFeatures]:
    """`stream_features` of a source that is awaited; what is computed runs in a thread, so that nothing else waits."""
    stream = await asyncio.to_thread(partial(Stream, sample_rate, model=model, **settings))
    with stream:
        async for chunk in chunks:
            for step in await asyncio.to_thread(stream.push, chunk):
                yield step
        for step in await asyncio.to_thread(stream.finish):
            yield step


class _Stream:
    """The samples that later frames still need, and how far the frames have come."""

    def __init__(self, model: SpeechEncoder, dtype: torch.dtype, options: StreamOptions):
        config = model.config
        self._model, self._dtype = model, dtype
        self._grid, self._normalizes, self._eps = config.grid, config.normalizes, config.normalize_eps
        self._stride = self._grid.stride
        self._hop, self._lookahead, self._context = (
            round(seconds * SAMPLE_RATE / self._stride) for seconds in (options.hop, options.lookahead, options.context)
        )
        self._samples = np.zeros(0, np.float32)
        self._first = 0  # frame that the held samples begin with
        self._done = 0  # frames that were given
        self._statistics = Statistics()
        self._sum = np.zeros(config.width)

    def add(self, block: np.ndarray) -> None:
        """Hear samples (S,) at 16 kHz."""
        self._statistics.add(block)
        self._samples = np.concatenate([self._samples, block])

    def step(self, *, final: bool = False) -> StreamedFeatures | None:
        """Give the frames of the next hop, or at the end all that are left; None when there are not enough yet."""
        heard = self._first + self._grid.count(self._samples.size)
        until = heard if final else self._done + self._hop
        if until <= self._done or (not final and heard < until + self._lookahead):
            return None
        seen = heard if final else until + self._lookahead
        size = self._samples.size if final else self._grid.samples(seen - self._first)
        heard_frames = self._encode(self._samples[:size])[:, : until - self._first]  # (1, T, D)
        scores = self._scores(heard_frames)
        frames = heard_frames[0, self._done - self._first :].float().cpu().numpy()  # (t, D)
        start, self._done = self._done * self._stride / SAMPLE_RATE, until
        self._sum += frames.sum(axis=0, dtype=np.float64)
        self._forget()
        return StreamedFeatures(start, frames, (self._sum / self._done).astype(np.float32), scores)

    @torch.inference_mode()
    def _encode(self, samples: np.ndarray) -> Tensor:
        """Frames (1, T, D) of held samples (S,), normalized by all that was heard if the network wants it so."""
        if self._normalizes:
            samples = ((samples - self._statistics.mean) * self._statistics.scale(self._eps)).astype(np.float32)
        waveform = torch.from_numpy(samples).to(self._model.device).unsqueeze(0)  # (1, S)
        with torch.autocast(self._model.device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self._model(waveform).frames

    @torch.inference_mode()
    def _scores(self, frames: Tensor) -> dict[str, float]:
        """What the head says of frames (1, T, D); nothing where there is none, or it reads other layers."""
        head = self._model.head
        if head is None or head.reads_layers:
            return {}
        return head.by_label(head(frames.to(self._model.dtype)))[0]

    def _forget(self) -> None:
        """Let go of samples that no later step sees."""
        keep = max(self._first, self._done - self._context)
        self._samples = self._samples[(keep - self._first) * self._stride :]
        self._first = keep
