"""What a head standardizes by: statistics of the untouched encoder over training clips.

B: clips of a batch. L: layers. T: frames. D: channels of a frame. P: of a pooled clip.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emotion2vec.finetune.scoring import by_length, padded
from emotion2vec.model.heads import Head, PooledHead, pool
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.tasks.scaling import Scaling


@torch.inference_mode()
def statistics_of(encoder: SpeechEncoder, waveforms: Sequence[np.ndarray], device: torch.device, head: Head) -> Scaling:
    """Mean and deviation of what a head reads: of pooled clips (P) or (L, P), or of frames (D).

    Args:
        encoder: in eval mode, on `device`.
        waveforms: as the encoder wants to hear them.
        device: where it is.
        head: which reads it.
    """
    rows: list[np.ndarray] = []
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        encoded = encoder(batch.to(device), None if padding is None else padding.to(device))
        frames = encoded.read_by(head)  # (B, [L,] T, D)
        if isinstance(head, PooledHead):
            rows.append(_on_host(pool(frames, encoded.padding, head.width)))  # (B, [L,] P)
        else:
            real = torch.ones(frames.shape[:2], dtype=torch.bool) if encoded.padding is None else ~encoded.padding
            rows.append(_on_host(frames[real.to(device)]))  # (frames, D)
    return Scaling.of(np.concatenate(rows))


def _on_host(x: Tensor) -> np.ndarray:
    found: np.ndarray = x.double().cpu().numpy()
    return found
