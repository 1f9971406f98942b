"""Audio and frame numbers, once: everything else derives them from the CNN's strides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from torch import Tensor

SAMPLE_RATE = 16_000
"""Samples per second of everything that the model sees."""

KERNELS = (10, 3, 3, 3, 3, 2, 2)
"""Kernel of each CNN layer, in its own input steps."""

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Stride of each CNN layer, in its own input steps."""

MEL_WINDOW = 400
"""Samples that a mel frame is computed from (25 ms)."""

MEL_HOP = 160
"""Samples between the centers of neighbouring mel frames (10 ms)."""


@dataclass(frozen=True)
class FrameGrid:
    """Where frames lie over samples: the exact arithmetic of a chain of strided layers.

    Attributes:
        kernels: of each layer, in its own input steps.
        strides: of each layer, in its own input steps.
        paddings: steps that each layer adds to its input, both ends together.
    """

    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    paddings: tuple[int, ...]

    @classmethod
    def of_waveform(cls, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> FrameGrid:
        """A CNN on samples, without padding."""
        return cls(tuple(kernels), tuple(strides), (0,) * len(kernels))

    @classmethod
    def of_mel(cls, kernels: Sequence[int], strides: Sequence[int]) -> FrameGrid:
        """Mel frames that are centered on every 160th sample, and convolutions with zeros around their edges.

        The first mel frame sees half a window before the audio. The last is the last that is centered on a sample at
        least a hop before the end, and so sees at most 40 samples after it.
        """
        paddings = (MEL_WINDOW - MEL_HOP, *(2 * (kernel // 2) for kernel in kernels))
        return cls((MEL_WINDOW, *kernels), (MEL_HOP, *strides), paddings)

    @property
    def stride(self) -> int:
        """Samples between neighbouring frames (320: 20 ms)."""
        return math.prod(self.strides)

    @property
    def center(self) -> float:
        """Sample in the middle of what the first frame sees; those after it follow by a stride each.

        Zeros, or the audio's mirror image, before the start are half a kernel of each layer that has any padding.
        """
        place, step = 0.0, 1
        for kernel, stride, padding in zip(self.kernels, self.strides, self.paddings, strict=True):
            place += step * ((kernel - 1) / 2 - min(padding, kernel // 2))
            step *= stride
        return place

    @overload
    def count(self, samples: int) -> int: ...

    @overload
    def count(self, samples: Tensor) -> Tensor: ...

    def count(self, samples: int | Tensor) -> int | Tensor:
        """Frames that so many samples give, of a number or of each of a tensor's; 0 if too short."""
        for kernel, stride, padding in zip(self.kernels, self.strides, self.paddings, strict=True):
            samples = (samples + padding - kernel) // stride + 1
            samples = max(samples, 0) if isinstance(samples, int) else samples.clamp(min=0)
        return samples

    @property
    def exact(self) -> bool:
        """Whether frames see samples of the audio alone, and nothing around its ends."""
        return not any(self.paddings)

    def samples(self, frames: int) -> int:
        """The fewest samples that give so many frames, 1 or more."""
        for kernel, stride, padding in zip(
            reversed(self.kernels), reversed(self.strides), reversed(self.paddings), strict=True
        ):
            frames = (frames - 1) * stride + kernel - padding
        return frames


WAVEFORM_GRID = FrameGrid.of_waveform()
"""That of the published CNN: a frame every 320 samples (20 ms), of 400 samples (25 ms) each."""

MIN_SAMPLES = WAVEFORM_GRID.samples(1)
"""Shortest usable audio, in samples at 16 kHz."""
