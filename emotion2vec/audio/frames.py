"""Audio and frame numbers, once: everything else derives them from the CNN's strides."""

from __future__ import annotations

import math
from collections.abc import Sequence

SAMPLE_RATE = 16_000
"""Samples per second of everything that the model sees."""

KERNELS = (10, 3, 3, 3, 3, 2, 2)
"""Kernel of each CNN layer, in its own input steps."""

STRIDES = (5, 2, 2, 2, 2, 2, 2)
"""Stride of each CNN layer, in its own input steps."""


def frame_stride(strides: Sequence[int] = STRIDES) -> int:
    """Samples between the starts of neighbouring frames (320: 20 ms)."""
    return math.prod(strides)


def receptive_field(kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Samples that one frame sees (400: 25 ms), which is also the shortest input that gives a frame."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field


def frame_count(samples: int, kernels: Sequence[int] = KERNELS, strides: Sequence[int] = STRIDES) -> int:
    """Frames that the CNN makes of `samples` samples: the exact convolution arithmetic, 0 if too short."""
    for kernel, stride in zip(kernels, strides, strict=True):
        samples = (samples - kernel) // stride + 1
        if samples <= 0:
            return 0
    return samples


MIN_SAMPLES = receptive_field()
"""Shortest usable audio, in samples at 16 kHz."""
