"""Batches of clips -> feature arrays: device, precision, choice of layers, pooling over time.

B: clips. S: samples. T: frames. D: model width. L: chosen layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emotion2vec.audio import frame_count
from emotion2vec.data.manifests import Fault
from emotion2vec.errors import ConfigError
from emotion2vec.extraction.clips import Clip
from emotion2vec.model.encoder import Emotion2vec

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Compute precision by name; features are float32 in any."""

Layers = str | int | Sequence[int]
"""`last`, `all`, a block's number from 0 (prenet first; negative from the end), or several: [0, 4] or `0,4`."""


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A clip with its features, float32 of the encoder's `shape`."""

    clip: Clip
    features: np.ndarray


class Encoder:
    """A model with the choices of one job: which layers, pooled over time or not, in which precision."""

    def __init__(self, model: Emotion2vec, *, layers: Layers, pooled: bool, precision: str):
        self.model = model
        self.pooled = pooled
        self.dtype = PRECISIONS[precision]
        depth = model.config.prenet_depth + model.config.depth
        self.layers, self.stacked = choose_layers(layers, depth)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of one clip's array, None for its number of frames: ([L,] [T,] D)."""
        frames = () if self.pooled else (None,)
        return (*((len(self.layers),) if self.stacked else ()), *frames, self.model.config.width)

    def frames(self, clip: Clip) -> int:
        """Number of frames T of a clip."""
        return frame_count(clip.samples, self.model.config.kernels, self.model.config.strides)

    @torch.inference_mode()
    def encode(self, clips: Sequence[Clip]) -> list[np.ndarray]:
        """Encode a batch to one float32 array per clip, of the shape `shape`; padding never shows in it."""
        waveforms, padding = _collate(clips, self.model.device)
        with torch.autocast(self.model.device.type, self.dtype, enabled=self.dtype != torch.float32):
            encoded = self.model(waveforms, padding)
        chosen = torch.stack([encoded.layers[layer] for layer in self.layers], dim=1).float()  # (B, L, T, D)
        lengths = [self.frames(clip) for clip in clips]
        if self.pooled:
            if encoded.padding is not None:
                chosen = chosen.masked_fill(encoded.padding[:, None, :, None], 0.0)
            arrays = list((chosen.sum(dim=2) / chosen.new_tensor(lengths)[:, None, None]).cpu().numpy())  # (L, D)
        else:
            batch = chosen.cpu().numpy()
            arrays = [array[:, :length] for array, length in zip(batch, lengths, strict=True)]  # (L, T, D)
        return arrays if self.stacked else [array[0] for array in arrays]

    def encode_safely(self, clips: Sequence[Clip]) -> Iterator[EncodedClip | Fault]:
        """Encode a batch, in halves when memory does not suffice; a clip that cannot be encoded gives a fault."""
        arrays: list[np.ndarray] | None = None
        try:
            arrays = self.encode(clips)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
        if arrays is not None:
            for clip, array in zip(clips, arrays, strict=True):
                yield EncodedClip(clip, array) if np.isfinite(array).all() else _not_finite(clip, self.dtype)
        elif len(clips) == 1:
            yield Fault(clips[0].where, f"{clips[0].seconds:.0f} s of audio do not fit into memory at once")
        else:  # outside the except clause, whose traceback would hold the memory of the failed attempt
            middle = len(clips) // 2
            yield from self.encode_safely(clips[:middle])
            yield from self.encode_safely(clips[middle:])


def choose_layers(layers: Layers, depth: int) -> tuple[list[int], bool]:
    """Turn a choice of layers into block numbers from 0, and whether a layer dimension is kept.

    Raises:
        ConfigError: it is not `last`, `all` or numbers of existing blocks.
    """
    if layers == "all":
        return list(range(depth)), True
    stacked = not isinstance(layers, int)
    numbers: list[int]
    try:
        if layers == "last":
            numbers, stacked = [-1], False
        elif isinstance(layers, str):
            numbers = [int(part) for part in layers.split(",")]
            stacked = len(numbers) > 1
        else:
            numbers = [layers] if isinstance(layers, int) else [int(layer) for layer in layers]
    except (TypeError, ValueError):
        numbers = []
    if not numbers or not all(-depth <= number < depth for number in numbers):
        raise ConfigError(
            f"layers is {layers!r}, expected last, all, or block numbers from 0 to {depth - 1} such as 0,{depth - 1}"
        )
    return [number % depth for number in numbers], stacked


def _collate(clips: Sequence[Clip], device: torch.device) -> tuple[Tensor, Tensor | None]:
    """Pad waveforms with zeros to (B, S), with the padding mask (B, S), None if there is no padding."""
    longest = max(clip.samples for clip in clips)
    waveforms = np.zeros((len(clips), longest), dtype=np.float32)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: clip.samples] = clip.waveform
    batch = torch.from_numpy(waveforms).to(device)
    if all(clip.samples == longest for clip in clips):
        return batch, None
    lengths = torch.tensor([clip.samples for clip in clips], device=device)
    return batch, torch.arange(longest, device=device) >= lengths.unsqueeze(1)  # (B, S)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; PyTorch has a type for this on accelerators, and only a message on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _not_finite(clip: Clip, dtype: torch.dtype) -> Fault:
    hint = "" if dtype == torch.float32 else "; precision fp32 may help"
    return Fault(clip.where, f"the model's features of it are not finite{hint}")
