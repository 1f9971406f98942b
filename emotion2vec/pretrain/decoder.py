"""The decoder, which predicts the teacher's targets from what the student saw.

R: rows, one per view (B·M). T: frames. K: frames that the student saw. D: model width. N: utterance tokens.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.model.config import DecoderConfig
from emotion2vec.model.dropout import dropout
from emotion2vec.model.position import FrameConv


class Decoder(nn.Module):
    """Grouped convolutions with residuals, then a Linear to the model's width (data2vec 2.0, audio)."""

    def __init__(self, config: DecoderConfig, width: int):
        super().__init__()
        self.input_dropout = config.input_dropout
        self.mask_noise = config.mask_noise
        inputs = [width] + [config.width] * (config.layers - 1)
        self.convs = nn.ModuleList(FrameConv(size, config.width, config.kernel, config.groups) for size in inputs)
        self.proj = nn.Linear(config.width, width)

    def forward(self, frames: Tensor, visible: Tensor, length: int) -> Tensor:
        """Predict all T = `length` frames (R, T, D) from the student's outputs (R, K, D) at `visible` (R, K).

        Masked places hold N(0, mask_noise²).
        """
        frames = dropout(frames, self.input_dropout, self.training)
        noise = torch.randn(frames.shape[0], length, frames.shape[2], device=frames.device) * self.mask_noise
        index = visible.unsqueeze(2).expand(-1, -1, frames.shape[2])  # (R, K, D)
        x = noise.to(frames.dtype).scatter(1, index, frames)  # (R, T, D)
        for conv in self.convs:
            y = conv(x)  # (R, T, width)
            y = F.gelu(F.layer_norm(y, y.shape[-1:]))
            x = y + x if y.shape == x.shape else y
        return self.proj(x)
