"""A speech encoder that says the cluster of every frame: one linear layer for each scale on its last frames.

B: utterances. S: samples. T: frames. D: width. Z: scales. K: clusters.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.hidden import Hidden
from emotion2vec.model.speech import SpeechEncoder

NOTHING = -100
"""In place of a cluster's number, where a frame is padding or has none."""


@dataclass
class Predicted:
    """What one micro-batch contributes to an update: sums over frames, of each scale those that count.

    Attributes:
        hidden: (Z,) cross-entropies of hidden frames.
        hidden_right: (Z,) hidden frames whose cluster was said.
        hidden_frames: () hidden frames that have clusters.
        seen: (Z,) the same of frames that are not hidden.
        seen_right: (Z,)
        seen_frames: ()
    """

    hidden: Tensor
    hidden_right: Tensor
    hidden_frames: Tensor
    seen: Tensor
    seen_right: Tensor
    seen_frames: Tensor


class ClusterNetwork(nn.Module):
    """Encoder and linear layers D → K.

    Args:
        encoder: without a head.
        counts: clusters K of each scale.
        frozen: how many of the encoder's parts, from the bottom, do not learn; they stay in eval mode.
        hides: whether frames are hidden, for which there is a vector that learns.
    """

    def __init__(self, encoder: SpeechEncoder, counts: Sequence[int], frozen: int, *, hides: bool):
        super().__init__()
        self.encoder = encoder
        self.frozen = frozen
        width = encoder.config.width
        self.outputs = nn.ModuleList(nn.Linear(width, count) for count in counts)
        self.vector = nn.Parameter(torch.empty(width).uniform_()) if hides else None
        for number, part in enumerate(encoder.parts()):
            part.requires_grad_(number >= frozen)
        self.train()

    def train(self, mode: bool = True) -> ClusterNetwork:
        """See `nn.Module`; what does not learn stays in eval mode, and so do batch norms, a Conformer's."""
        super().train(mode)
        for part in self.encoder.parts()[: self.frozen]:
            part.train(False)
        for module in self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(False)
        return self

    def forward(
        self,
        waveforms: Tensor,
        padding: Tensor | None,
        labels: Tensor,
        mask: Tensor | None,
        skip_blocks: Collection[int] = (),
    ) -> Predicted:
        """Compute the sums of a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them.
            padding: (B, S), True = padding; None where nothing is padded.
            labels: (B, T, Z) numbers of clusters, `NOTHING` where a frame has none.
            mask: (B, T), True = hidden; None where nothing is.
            skip_blocks: blocks that layerdrop leaves out, of networks of ours.
        """
        hidden = None if mask is None or self.vector is None else Hidden(mask, self.vector)
        if isinstance(self.encoder, Emotion2vec):
            encoded = self.encoder(waveforms, padding, hidden, skip_blocks)
        else:
            encoded = self.encoder(waveforms, padding, hidden)
        known = labels[..., 0] != NOTHING  # (B, T)
        covered = torch.zeros_like(known) if mask is None else known & mask
        parts = [_sums(encoded.frames[rows], labels[rows], self.outputs) for rows in (covered, known & ~covered)]
        (hidden_loss, hidden_right), (seen_loss, seen_right) = parts
        return Predicted(hidden_loss, hidden_right, covered.sum(), seen_loss, seen_right, (known & ~covered).sum())


def _sums(frames: Tensor, labels: Tensor, outputs: nn.ModuleList) -> tuple[Tensor, Tensor]:
    """Cross-entropies and right answers (Z,), summed over frames (n, D) with labels (n, Z)."""
    losses, right = [], []
    for place, output in enumerate(outputs):
        scores = output(frames).float()  # (n, K)
        losses.append(functional.cross_entropy(scores, labels[:, place], reduction="sum"))
        right.append((scores.detach().argmax(dim=1) == labels[:, place]).sum())
    return torch.stack(losses), torch.stack(right)
