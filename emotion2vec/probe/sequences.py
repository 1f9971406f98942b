"""Networks that read the frames of a clip in context: attentive pooling and a recurrent network.

B: clips of a batch. T: frames of the longest clip. D: channels. H: hidden width. K: outputs, one per class or
dimension of values.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from emotion2vec.model.shapes import Undrawn
from emotion2vec.probe.frames import FrameBank
from emotion2vec.probe.networks import seeded_linear


def seeded_gru(inputs: int, hidden: int, generator: torch.Generator, *, bidirectional: bool = False) -> nn.GRU:
    """An nn.GRU with PyTorch's default distribution, drawn from a generator so that threads do not disturb it."""
    with Undrawn():
        network: nn.GRU = nn.GRU(inputs, hidden, batch_first=True, bidirectional=bidirectional)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5, generator=generator)
    return network


class SequenceClassifier(nn.Module):
    """Frames standardized by `shift` and `scale` (D,), pooled by attention or a GRU, Linear to classes."""

    def __init__(
        self,
        bank: FrameBank,
        shift: np.ndarray | float,
        scale: np.ndarray | float,
        *,
        pooling: str,
        hidden: int,
        outputs: int,
        seed: int,
    ):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.pooling = pooling
        if pooling == "gru":
            self.recurrent = seeded_gru(bank.channels, hidden, generator, bidirectional=True)
            self.output = seeded_linear(2 * hidden, outputs, generator)
        else:
            self.project = seeded_linear(bank.channels, hidden, generator)
            self.query = seeded_linear(hidden, 1, generator)
            self.output = seeded_linear(bank.channels, outputs, generator)
        self.to(bank.rows.device)
        self._bank = bank
        like = self.output.weight
        self._gain = torch.as_tensor(bank.scale / scale, dtype=like.dtype).to(like.device)  # (D,)
        self._offset = torch.as_tensor((bank.shift - shift) / scale, dtype=like.dtype).to(like.device)  # (D,)

    def forward(self, clips: Tensor) -> Tensor:
        """Return logits (B, K) of the clips at these positions."""
        bank = self._bank
        lengths = bank.lengths[clips]  # (B,)
        rows = [
            bank.rows[bank.starts[clip] : bank.starts[clip] + length, : bank.channels]
            for clip, length in zip(clips.tolist(), lengths.tolist(), strict=True)
        ]
        frames = pad_sequence([part * self._gain + self._offset for part in rows], batch_first=True)  # (B, T, D)
        real = torch.arange(frames.shape[1], device=frames.device) < lengths.unsqueeze(1)  # (B, T)
        return self.output(self._recurrent(frames, lengths) if self.pooling == "gru" else self._attend(frames, real))

    def _attend(self, frames: Tensor, real: Tensor) -> Tensor:
        energy = self.query(torch.tanh(self.project(frames))).squeeze(2)  # (B, T)
        weights = energy.masked_fill(~real, float("-inf")).softmax(dim=1)
        return torch.einsum("bt,btd->bd", weights, frames)

    def _recurrent(self, frames: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(frames, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, _ = pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)  # (B, T, 2 H), zero in padding
        return outputs.sum(dim=1) / lengths.unsqueeze(1)
