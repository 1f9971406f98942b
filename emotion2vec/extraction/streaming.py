"""Features of live audio: chunks of samples in, frames out, a stated time later.

Whole-utterance normalization is impossible while the utterance goes on, so the mean and variance of all that was heard
so far take its place; and a frame sees only so much of what follows it. docs/extraction.md says what that changes.

S: samples. t: frames of one step. D: model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from emotion2vec.assets import DEFAULT_MODEL
from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.extraction.encode.ready import DTYPES, ready_model
from emotion2vec.extraction.options import ComputeOptions, check_options
from emotion2vec.extraction.sources.decoding import Statistics
from emotion2vec.model.speech import SpeechEncoder


@dataclass(frozen=True, eq=False)
class StreamedFeatures:
    """What one step of a stream gave.

    Attributes:
        start: time of the first frame, in s from the start of the stream.
        frames: (t, D) float32, 50 per second; they follow the frames of the step before without a gap.
        utterance: (D,) float32 mean of all frames of the stream so far.
    """

    start: float
    frames: np.ndarray
    utterance: np.ndarray


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


def stream_features(
    chunks: Iterable[np.ndarray],
    sample_rate: int,
    *,
    model: str | Path | SpeechEncoder = DEFAULT_MODEL,
    options: StreamOptions | None = None,
    precision: str = "fp32",
    device: str | None = None,
) -> Iterator[StreamedFeatures]:
    """Extract features of live audio as it comes.

    Args:
        chunks: mono samples (S,) of any length each, floats in −1 … 1 or int16; the iterator may wait for them.
        sample_rate: their rate, in Hz.
        model: a model, or what `load_model` takes; by default the one that ships with the package.
        options: hop, lookahead and context.
        precision: `fp32`, `bf16`, `fp16`, `int8` (on a CPU) or `auto`.
        device: as for `extract_features`.

    Yields:
        The frames of each hop, and what is left at the end.

    Raises:
        AudioError: samples are not finite, or of a kind that is not known.
        ConfigError: an option is wrong.
        CheckpointError: the model cannot be loaded.
    """
    options = options or StreamOptions()
    check_options(ComputeOptions(precision=precision).faults() + options.faults())
    with ready_model(model, device, precision) as ready:
        state = _Stream(ready.model, DTYPES[ready.precision], options)
        for block in _resampled(chunks, sample_rate):
            state.add(block)
            while (step := state.step()) is not None:
                yield step
        last = state.step(final=True)
        if last is not None:
            yield last


def _resampled(chunks: Iterable[np.ndarray], rate: int) -> Iterator[np.ndarray]:
    """Bring chunks to 16 kHz float32."""
    import soxr

    if not isinstance(rate, int | float) or not rate > 0:
        raise ConfigError(f"sample_rate is {rate!r}, expected Hz")
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for number, chunk in enumerate(chunks):
        samples = np.asarray(chunk)
        if samples.ndim != 1:
            raise AudioError(f"chunk {number}: shape is {samples.shape}, expected (samples,)")
        if samples.dtype == np.int16:
            samples = samples / 32768
        if samples.dtype.kind != "f" or not np.isfinite(samples).all():
            raise AudioError(f"chunk {number}: expected finite floats or int16, found {samples.dtype}")
        yield resampler.resample_chunk(samples.astype(np.float32))
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


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
        frames = self._encode(self._samples[:size])[self._done - self._first : until - self._first]  # (t, D)
        start, self._done = self._done * self._stride / SAMPLE_RATE, until
        self._sum += frames.sum(axis=0, dtype=np.float64)
        self._forget()
        return StreamedFeatures(start, frames, (self._sum / self._done).astype(np.float32))

    @torch.inference_mode()
    def _encode(self, samples: np.ndarray) -> np.ndarray:
        """Encode held samples (S,), normalized by all that was heard if the network wants it so."""
        if self._normalizes:
            samples = ((samples - self._statistics.mean) * self._statistics.scale(self._eps)).astype(np.float32)
        waveform = torch.from_numpy(samples).to(self._model.device).unsqueeze(0)  # (1, S)
        with torch.autocast(self._model.device.type, self._dtype, enabled=self._dtype != torch.float32):
            frames = self._model(waveform).frames[0]  # (T, D)
        return frames.float().cpu().numpy()

    def _forget(self) -> None:
        """Let go of samples that no later step sees."""
        keep = max(self._first, self._done - self._context)
        self._samples = self._samples[(keep - self._first) * self._stride :]
        self._first = keep
