"""The upstream that S3PRL calls: a list of waveforms in, a list of hidden states out.

B: utterances. S: samples. T: frames. D: model width. L: Transformer blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from emotion2vec.checkpoint import load_model


class UpstreamExpert(nn.Module):
    """Frozen or trainable features for S3PRL's downstream models.

    Args:
        ckpt: anything that `load_model` takes.
        kwargs: what else S3PRL passes to every upstream (`model_config`, `refresh`), without a meaning here.

    Raises:
        CheckpointError: as `load_model`.
    """

    def __init__(self, ckpt: str, **kwargs: Any):
        super().__init__()
        self.model = load_model(ckpt)

    def get_downsample_rates(self, key: str = "hidden_states") -> int:
        """Samples per frame."""
        return self.model.config.grid.stride

    def forward(self, wavs: Sequence[Tensor]) -> dict[str, Any]:
        """Encode waveforms.

        Args:
            wavs: B tensors (S,) at 16 kHz, not normalized, each of its own length.

        Returns:
            `hidden_states`, L + 1 tensors (B, T, D): what enters the first block, then every block's output; and
            `last_hidden_state`, the last of them. Frames past an utterance's end mean nothing.
        """
        config = self.model.config
        heard = [F.layer_norm(wav, wav.shape, eps=config.normalize_eps) if config.normalizes else wav for wav in wavs]
        heard = [F.pad(wav, (0, max(0, config.grid.samples(1) - len(wav)))) for wav in heard]
        lengths = torch.tensor([len(wav) for wav in heard], device=wavs[0].device)  # (B,)
        batch = pad_sequence(heard, batch_first=True)  # (B, S)
        padding = torch.arange(batch.shape[1], device=batch.device).unsqueeze(0) >= lengths.unsqueeze(1)  # (B, S)
        encoded = self.model(batch, padding if bool(padding.any()) else None)
        states = [encoded.embedded, *encoded.layers]
        return {"hidden_states": states, "last_hidden_state": states[-1]}
