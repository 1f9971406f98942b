"""Time the CNN's forward and backward pass against the same network built from torch's conv1d, in turn.

OMP_NUM_THREADS=1 python benchmarks/frontend.py [CHANNELS]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from emotion2vec.audio.frames import KERNELS, STRIDES
from emotion2vec.model.frontend import Frontend


def conv1d_cnn(frontend: Frontend, waveforms: Tensor) -> Tensor:
    """Run the CNN (B, S) to (B, T, C) through conv1d, with channels last only for the layer norms."""
    x = waveforms.unsqueeze(1)  # (B, 1, S)
    for layer in frontend.layers:
        x = torch.nn.functional.conv1d(x, layer.weight, stride=layer.stride)
        x = torch.nn.functional.gelu(layer.norm(x.transpose(1, 2)).transpose(1, 2))  # (B, C, T)
    return x.transpose(1, 2)  # (B, T, C)


def seconds(run: Callable[[Tensor], Tensor], waveforms: Tensor) -> float:
    """Processor time of one forward and backward pass."""
    started = time.process_time()
    run(waveforms).sum().backward()
    return time.process_time() - started


def main(channels: int) -> None:
    """Print medians of seven rounds, and the median of their ratios."""
    frontend = Frontend(channels, 128, KERNELS, STRIDES)
    waveforms = torch.randn(4, 48_000)
    rounds = [
        (seconds(frontend.cnn, waveforms), seconds(lambda x: conv1d_cnn(frontend, x), waveforms)) for _ in range(8)
    ][1:]
    ours, theirs = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median(b / a for a, b in rounds)
    print(f"{channels} channels, 12 s of audio: {ours:.3f} s, conv1d {theirs:.3f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 64)
