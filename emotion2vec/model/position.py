"""Where frames are: stacked positional convolutions and ALiBi.

B: utterances (or views). T: frames. K: frames that the Transformer sees. D: model width. H: heads. N: utterance tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameConv(nn.Conv1d):
    """Convolution of frames (B, T, C_in) along time to (B, T, C_out), with an odd kernel and zeros around the edges."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, T, C_in).

        oneDNN is faster where channels come last, which PyTorch knows of images only: here of a height of one.
        """
        if x.device.type != "cpu" or not torch.backends.mkldnn.is_available() or torch.compiler.is_compiling():
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        image = x.transpose(1, 2).unsqueeze(2)  # (B, C_in, 1, T)
        kernel = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # (C_out, C_in / groups, 1, W)
        y = F.conv2d(image, kernel, self.bias, padding=(0, self.kernel_size[0] // 2), groups=self.groups)
        return y.squeeze(2).transpose(1, 2)


class ConvPositions(nn.Module):
    """Stacked grouped convolutions, each followed by a parameter-free layer norm and GELU (data2vec 2.0, audio)."""

    def __init__(self, width: int, layers: int, total_width: int, groups: int):
        super().__init__()
        kernel = total_width // layers
        self.convs = nn.ModuleList(FrameConv(width, width, kernel, groups) for _ in range(layers))

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Compute what is added to the frames (B, T, D); `padding` (B, T) is zeroed before every convolution.

        The zeros make a padded utterance see at its end what it would see alone.
        """
        for conv in self.convs:
            if padding is not None:
                x = x.masked_fill(padding.unsqueeze(2), 0.0)
            x = conv(x)  # (B, T, D)
            x = F.gelu(F.layer_norm(x, x.shape[-1:]))
        return x


def alibi_slopes(heads: int) -> Tensor:
    """Slopes (H,) of ALiBi (Press et al. 2022): a geometric series, and the next one's when H is no power of 2.

    For 12 heads: 2⁻¹ … 2⁻⁸, then 2^−0.5, 2^−1.5, 2^−2.5, 2^−3.5.
    """
    power = 2 ** math.floor(math.log2(heads))
    exponents = [8 * (i + 1) / power for i in range(power)]
    exponents += [4 * (2 * i + 1) / power for i in range(heads - power)]
    return 2.0 ** -torch.tensor(exponents, device="cpu")  # real numbers in a network of shapes alone, too


def alibi_distance(positions: Tensor, tokens: int) -> Tensor:
    """Distances `|i − j|` between frames at `positions`, zero to and from the tokens in front.

    Args:
        positions: (B, K) times of the frames that the Transformer sees, in frames.
        tokens: number N of utterance tokens in front of the frames.

    Returns:
        (B, N+K, N+K) float32.
    """
    times = positions.float()
    distance = (times.unsqueeze(2) - times.unsqueeze(1)).abs()  # (B, K, K)
    return F.pad(distance, (tokens, 0, tokens, 0))  # (B, N+K, N+K)


def sinusoids(times: Tensor, width: int) -> Tensor:
    """Sines, then cosines, of times at D / 2 wavelengths from 2π to 10,000 · 2π (Vaswani et al. 2017; Whisper's order).

    Args:
        times: (...) in frames.
        width: D, even.

    Returns:
        (..., D) float32.
    """
    steps = torch.arange(width // 2, device=times.device, dtype=torch.float32)  # (D / 2,)
    speeds = torch.exp(-math.log(10_000) / max(1, width // 2 - 1) * steps)
    angles = times.float().unsqueeze(-1) * speeds
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
