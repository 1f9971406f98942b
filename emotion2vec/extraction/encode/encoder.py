"""Clips -> arrays of features: device, precision, choice of layers, windows of long audio.

B: clips or windows in a batch. S: samples. T: frames. D: model width. L: chosen layers. N: utterance tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from emotion2vec.audio.windows import Chunking, Window, cut_windows, plan_windows
from emotion2vec.devices import exact_device, is_host, is_out_of_memory
from emotion2vec.errors import AudioError
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio, FeatureArray
from emotion2vec.extraction.encode.batching import Batch
from emotion2vec.extraction.encode.choices import FeatureChoice, layout_of
from emotion2vec.extraction.encode.graphs import GraphNetwork
from emotion2vec.extraction.encode.lanes import lanes_for, stop_if_closed
from emotion2vec.extraction.encode.ready import DTYPES
from emotion2vec.extraction.encode.reduction import Piece, Reduction
from emotion2vec.extraction.sources.decoding import AnyWaveform, AudioFault, LongWaveform, Waveform, as_fault
from emotion2vec.model.speech import SpeechEncoder

GPU_WINDOW_SECONDS = 300.0
"""Audio in one batch of windows on other devices than the CPU, in s."""

CPU_FRAME_STEP = 8
"""Batches on a CPU are padded to a multiple of so many frames: oneDNN prepares a kernel for every new shape, and
nearly every clip would have shapes of its own. For clips of 3 s this is some 2 % more frames on average."""

Span = tuple[int, int]
"""First frame of a waveform that is kept, and the first after it that is not."""


@dataclass(frozen=True)
class NoRoom(AudioFault):
    """Audio that did not fit into memory by itself; it may when nothing else is there.

    Attributes:
        audio: what it was decoded to.
    """

    audio: AnyWaveform


class Encoder:
    """A model with the choices of one job: which features, in which precision, in which windows.

    Args:
        model: computes, and tells the dimensions.
        choice: which features.
        precision: what to compute in.
        chunking: which audio is cut into windows.
        graph: computes in place of the model; only for a choice of its last block.

    Attributes:
        layout: the arrays that come of each clip.
    """

    def __init__(
        self,
        model: SpeechEncoder,
        choice: FeatureChoice,
        *,
        precision: str,
        chunking: Chunking,
        graph: GraphNetwork | None = None,
    ):
        self.model = model
        self._graph = graph
        self.choice = choice
        self.dtype = DTYPES[precision]
        self.chunking = chunking.within(model.config.max_seconds)
        self._features, self._layers = layout_of(choice, model.config)
        self.layout = self._features
        self._mix = None if self._layers.mix is None else torch.from_numpy(self._layers.mix)

    def lanes(self, clips: int) -> int:
        """Make ready to encode so many clips, and tell how many batches to encode at once."""
        lanes = lanes_for(self.model.device, clips)
        if self._graph is not None:
            self._graph.open(lanes)
        return lanes

    def frames(self, clip: AnyWaveform) -> int:
        """Number of frames T of a clip."""
        return self.model.config.grid.count(clip.samples)

    def encode(self, clips: Sequence[Waveform]) -> list[Arrays]:
        """Encode a batch; padding never shows in the features."""
        counts = [self.frames(clip) for clip in clips]
        pieces = self._pieces([clip.waveform for clip in clips], [(0, count) for count in counts])
        return [
            {name: FeatureArray.of(array.whole()) for name, array in self._reduce(iter([piece]), count).items()}
            for piece, count in zip(pieces, counts, strict=True)
        ]

    def encode_long(self, clip: LongWaveform) -> Arrays:
        """Encode long audio in windows, several at once where that pays, as its features are taken.

        Taking them raises AudioError when the audio cannot be read a second time.
        """
        batch = 1 if is_host(self.model.device) else max(1, int(GPU_WINDOW_SECONDS / self.chunking.chunk_seconds))
        windows = plan_windows(clip.samples, self.chunking, self.model.config.grid)
        return self._reduce(self._window_pieces(clip, windows, batch), self.frames(clip))

    def encode_batch(self, batch: Batch, keep: Callable[[Arrays], Arrays]) -> Iterator[EncodedAudio | AudioFault]:
        """Encode whatever the batch is; audio that cannot be encoded gives a fault.

        Args:
            batch: clips, long audio, or a fault, which stays one.
            keep: takes the features of long audio as they are computed; raises FloatingPointError where they are not
                finite.
        """
        if isinstance(batch, AudioFault):
            yield batch
        elif isinstance(batch, LongWaveform):
            yield self.encode_long_safely(batch, keep)
        else:
            yield from self.encode_safely(batch)

    def encode_safely(self, clips: Sequence[Waveform]) -> Iterator[EncodedAudio | AudioFault]:
        """Encode a batch, in halves when memory does not suffice; a clip that cannot be encoded gives a fault."""
        encoded: list[Arrays] | None = None
        try:
            encoded = self.encode(clips)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        if encoded is not None:
            for clip, arrays in zip(clips, encoded, strict=True):
                finite = all(np.isfinite(part).all() for array in arrays.values() for part in array.parts)
                yield self._encoded(clip, arrays) if finite else _not_finite(clip, self.dtype)
        elif len(clips) == 1:
            (clip,) = clips
            reason = f"{clip.seconds:.0f} s of audio do not fit into memory at once"
            yield NoRoom(clip.where, reason, clip.index, clip)
        else:  # outside the except clause, whose traceback would hold the memory of the failed attempt
            middle = len(clips) // 2
            yield from self.encode_safely(clips[:middle])
            yield from self.encode_safely(clips[middle:])

    def encode_long_safely(self, clip: LongWaveform, keep: Callable[[Arrays], Arrays]) -> EncodedAudio | AudioFault:
        """Encode long audio and keep its features; audio that cannot be encoded gives a fault.

        Args:
            clip: the audio.
            keep: takes the features as they are computed; raises FloatingPointError where they are not finite.
        """
        try:
            return self._encoded(clip, keep(self.encode_long(clip)))
        except FloatingPointError:
            return _not_finite(clip, self.dtype)
        except (AudioError, OSError) as error:
            return as_fault(error, clip)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = (
                f"a window of {self.chunking.chunk_seconds:g} s does not fit into memory; a smaller chunk_seconds may"
            )
            return NoRoom(clip.where, reason, clip.index, clip)

    def _encoded(self, clip: AnyWaveform, features: Arrays) -> EncodedAudio:
        return EncodedAudio(clip.index, features, clip.seconds, self.frames(clip), clip.notes)

    def _window_pieces(self, clip: LongWaveform, windows: list[Window], batch: int) -> Iterator[Piece]:
        stream = zip(windows, cut_windows(clip.blocks(), windows), strict=True)
        while group := list(islice(stream, batch)):
            stop_if_closed()
            spans = [(window.skip, window.skip + window.keep) for window, _ in group]
            yield from self._pieces([waveform for _, waveform in group], spans)

    def _reduce(self, pieces: Iterator[Piece], frames: int) -> Arrays:
        return Reduction(self.choice, self._features, self._layers.stacked, pieces, frames).arrays()

    @torch.inference_mode()
    def _pieces(self, waveforms: Sequence[np.ndarray], spans: Sequence[Span]) -> list[Piece]:
        """Run the model on waveforms (S,), and keep of each the frames of its span."""
        choice = self.choice
        chosen, tokens = self._run(*self._collate(waveforms))  # (B, L, T, D), (B, N, D)
        frames = chosen.cpu().numpy() if choice.wants_frames else None
        sums = squares = None
        if choice.wants_utterance and choice.pooling != "tokens":
            kept = _hide_outside(chosen, spans).to(exact_device(chosen.device))
            sums = kept.sum(dim=2, dtype=torch.float64).cpu().numpy()  # (B, L, D)
            if choice.pooling == "mean+std":
                squares = kept.double().square().sum(dim=2).cpu().numpy()  # (B, L, D)
        token_array = tokens.float().cpu().numpy() if choice.pooling == "tokens" else None
        return [
            Piece(
                count=end - begin,
                frames=None if frames is None else frames[row, :, begin:end],
                sums=None if sums is None else sums[row],
                squares=None if squares is None else squares[row],
                tokens=None if token_array is None else token_array[row],
            )
            for row, (begin, end) in enumerate(spans)
        ]

    def _collate(self, waveforms: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Pad waveforms with zeros to (B, S), with the samples (B,) of each.

        S ends with the last frame; samples after it that no frame sees are left out, unless a norm over time does.
        """
        grid, longest = self.model.config.grid, max(waveform.size for waveform in waveforms)
        pads = self.model.config.pads
        step = CPU_FRAME_STEP if is_host(self.model.device) and self._graph is None and pads else 1
        samples = grid.samples(-(-grid.count(longest) // step) * step)
        if not (grid.exact and pads):
            samples = max(samples, longest)
        rows = np.zeros((len(waveforms), samples), dtype=np.float32)
        for row, waveform in zip(rows, waveforms, strict=True):
            row[: waveform.size] = waveform[:samples]
        lengths = torch.tensor([min(waveform.size, samples) for waveform in waveforms])
        return torch.from_numpy(rows).to(self.model.device), lengths.to(self.model.device)

    def _run(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (B, S) of so many samples (B,) to the chosen layers (B, L, T, D) float32, and the tokens (B, N, D)."""
        if self._graph is not None:
            frames, tokens = self._graph(waveforms, lengths)
            return frames.unsqueeze(1), tokens  # (B, 1, T, D)
        samples, padding = waveforms.shape[1], None
        if int(lengths.min()) < samples:
            padding = torch.arange(samples, device=self.model.device) >= lengths.unsqueeze(1)  # (B, S)
        with torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32):
            encoded = self.model(waveforms, padding)
        outputs = encoded.ffn if self.choice.features == "ffn" else encoded.layers
        chosen = torch.stack([outputs[number] for number in self._layers.numbers], dim=1).float()  # (B, L, T, D)
        if self._mix is not None:
            chosen = torch.einsum("l,bltd->btd", self._mix.to(chosen.device), chosen).unsqueeze(1)  # (B, 1, T, D)
        return chosen, encoded.tokens


def _hide_outside(frames: Tensor, spans: Sequence[Span]) -> Tensor:
    """Zero what is outside the spans in (B, L, T, D)."""
    total = frames.shape[2]
    if all(span == (0, total) for span in spans):
        return frames
    times = torch.arange(total, device=frames.device)
    limits = torch.tensor(spans, device=frames.device)  # (B, 2)
    inside = (times >= limits[:, :1]) & (times < limits[:, 1:])  # (B, T)
    return frames.masked_fill(~inside[:, None, :, None], 0.0)


def _not_finite(clip: AnyWaveform, dtype: torch.dtype) -> AudioFault:
    """The fault of a clip whose features are NaN or infinite."""
    hint = "" if dtype == torch.float32 else "; precision fp32 may help"
    return AudioFault(clip.where, f"the model's features of it are not finite{hint}", clip.index)


def try_again(result: EncodedAudio | AudioFault) -> Batch | None:
    """What is to be encoded once more, when nothing else is in memory; None for what is final."""
    if not isinstance(result, NoRoom):
        return None
    return result.audio if isinstance(result.audio, LongWaveform) else [result.audio]
