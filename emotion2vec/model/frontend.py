"""The CNN front end: waveform to frames.

B: utterances. S: samples. T: frames (time steps of any layer). C: CNN channels. D: model width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.cpu.packing import Packed, pack_weight
from emotion2vec.model.cpu.products import product
from emotion2vec.model.linear import Linear

TALL = 1024
"""Frames that a layer of the CNN has to multiply at once, roughly: it sees many more than the Transformer."""


class GradScale(torch.autograd.Function):
    """Identity whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:  # noqa: D102
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: D102
        return grad * ctx.factor, None


class ConvFrontend(Protocol):
    """A front end whose convolutions can be run alone."""

    def cnn(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Samples (B, S), of so many (B,) each, to features (B, T, C)."""
        ...


def scaled_cnn(frontend: ConvFrontend, waveforms: Tensor, scale: float) -> Tensor:
    """Features (B, T, C) of samples (B, S), with a factor on the convolutions' gradients; 0 needs no graph at all."""
    if scale == 0:
        with torch.no_grad():
            return frontend.cnn(waveforms)
    features = frontend.cnn(waveforms)
    return features if scale == 1 else GradScale.apply(features, scale)


class ConvLayer(nn.Module):
    """One strided convolution without bias, layer norm over channels, GELU; channels last throughout.

    The convolution is computed as matrix products over blocks of `stride` time steps: with channels last, a block is a
    row in memory already, so nothing is transposed or unfolded.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int):
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel))
        nn.init.kaiming_normal_(self.weight)
        self.norm = nn.LayerNorm(out_channels)
        self._packed: list[Packed] | None = None

    def pack(self, dtype: torch.dtype | None) -> None:
        """Lay the weights out for products in `dtype`, in float32 for int8; None forgets the layout.

        A single input channel is left alone. That is the first layer's, which costs little.
        """
        if dtype is None or self.weight.shape[1] == 1:
            self._packed = None
        else:
            dtype = torch.float32 if dtype == torch.int8 else dtype
            self._packed = [pack_weight(part, None, dtype, rows=TALL) for part in self._matrices()]

    def _matrices(self) -> list[Tensor]:
        """The kernel as matrices (C_out, W · C_in), one for each block of W ≤ stride time steps."""
        return [part.transpose(1, 2).flatten(1).contiguous() for part in self.weight.split(self.stride, dim=2)]

    def _blocks(self, x: Tensor) -> list[Tensor]:
        """What each of the matrices is multiplied with, (B, T', W · C_in) views of the frames (B, T, C_in)."""
        stride, kernel = self.stride, self.weight.shape[2]
        steps = (x.shape[1] - kernel) // stride + 1
        blocks = []
        for start in range(0, kernel, stride):
            width = min(stride, kernel - start)
            if width == stride:
                block = x[:, start : start + steps * stride].unflatten(1, (steps, stride))  # (B, T', W, C_in)
            else:
                block = x[:, start:].unfold(1, width, stride)[:, :steps].transpose(2, 3)  # (B, T', W, C_in)
            blocks.append(block.flatten(2))
        return blocks

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, T, C_in) to (B, T', C_out)."""
        out: Tensor | None = None
        if self._packed is None:
            for block, matrix in zip(self._blocks(x), self._matrices(), strict=True):
                part = product(block, matrix, None)  # (B, T', C_out)
                out = part if out is None else out + part
        else:
            for block, multiply in zip(self._blocks(x), self._packed, strict=True):
                out = multiply(block, add=out)  # (B, T', C_out)
        return F.gelu(self.norm(out))


class Frontend(nn.Module):
    """CNN and projection: (B, S) normalized samples to (B, T, D) local features (data2vec 2.0, audio).

    Raises:
        RuntimeError: an input is shorter than the receptive field.
    """

    def __init__(self, channels: int, width: int, kernels: Sequence[int], strides: Sequence[int]):
        super().__init__()
        inputs = [1] + [channels] * (len(kernels) - 1)
        self.layers = nn.ModuleList(
            ConvLayer(size, channels, kernel, stride)
            for size, kernel, stride in zip(inputs, kernels, strides, strict=True)
        )
        self.norm = nn.LayerNorm(channels)
        self.projection = Linear(channels, width, int8=False)

    def cnn(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Run the CNN alone: (B, S) to (B, T, C); how long utterances are does not matter to it."""
        first: Any = self.layers[0]
        x = waveforms.to(first.weight.dtype).unsqueeze(2)  # (B, S, 1)
        for layer in self.layers:
            x = layer(x)
        return x

    def project(self, features: Tensor) -> Tensor:
        """Project CNN features (B, T, C) to the model's width (B, T, D)."""
        return self.projection(self.norm(features))

    def forward(self, waveforms: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Encode (B, S) to (B, T, D)."""
        return self.project(self.cnn(waveforms))
