"""What the untouched encoder says of training clips, which a head standardizes by, and from which its main one starts.

B: clips of a batch. N: clips. L: layers. T: frames. D: channels of a frame. P: of a pooled clip. K: scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from emotion2vec.errors import ConfigError
from emotion2vec.finetune.scoring import by_length, padded
from emotion2vec.model.heads import Head, PooledHead, pool
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.probe.logreg import LogisticRegressionHead
from emotion2vec.probe.problem import HeadRecipe, Problem
from emotion2vec.probe.ridge import RidgeHead
from emotion2vec.units import counted


@torch.inference_mode()
def read_by(encoder: SpeechEncoder, waveforms: Sequence[np.ndarray], device: torch.device, head: Head) -> np.ndarray:
    """What a head reads: pooled clips (N, P) or (N, L, P) in their order, or all of their frames (frames, [L,] D).

    Args:
        encoder: in eval mode, on `device`.
        waveforms: as the encoder wants to hear them.
        device: where it is.
        head: which reads it.
    """
    rows: list[np.ndarray] = []
    order: list[int] = []
    for numbers in by_length([waveform.size for waveform in waveforms]):
        batch, padding = padded([waveforms[number] for number in numbers])
        order += numbers
        encoded = encoder(batch.to(device), None if padding is None else padding.to(device))
        frames = encoded.read_by(head)  # (B, [L,] T, D)
        if isinstance(head, PooledHead):
            rows.append(_on_host(pool(frames, encoded.padding, head.width)))  # (B, [L,] P)
        else:
            by_time = frames.movedim(-2, 1)  # (B, T, [L,] D)
            real = torch.ones(by_time.shape[:2], dtype=torch.bool) if encoded.padding is None else ~encoded.padding
            rows.append(_on_host(by_time[real.to(device)]))  # (frames, [L,] D)
    found = np.concatenate(rows)
    return found[np.argsort(order)] if isinstance(head, PooledHead) else found


def solve(head: Head, vectors: np.ndarray, truths: np.ndarray, speakers: Sequence[str], seed: int) -> None:
    """Give a head of kind mean the weights of a regression on what it reads, logistic or, of values, ridge.

    How strong its penalty is, other speakers of these clips decide, see `probe.logreg`.

    Args:
        head: whose weights and standardization are replaced.
        vectors: (N, P), see `read_by`.
        truths: (N,) classes by number, or (N, K) values.
        speakers: (N,) of the clips.
        seed: of groups of clips, where there is one speaker.

    Raises:
        ConfigError: a class has no clip.
    """
    recipe: HeadRecipe = RidgeHead() if truths.ndim == 2 else LogisticRegressionHead()
    if truths.ndim == 1 and (lacking := [name for k, name in enumerate(head.labels) if k not in truths]):
        raise ConfigError(
            f"finetune.solve has {counted(len(truths), 'clip')}, and none of {', '.join(lacking)}; expected more, or 0"
        )
    everything = np.arange(len(truths))
    problem = Problem(
        labels=truths,
        outputs=len(head.labels),
        speakers=np.array(speakers),
        train=everything,
        valid=everything[:0],
        test=everything[:1],
        standardize=True,
        seed=seed,
    )
    fitted = recipe.fit(vectors, problem).head
    head.load_state_dict(fitted.state_dict())


def _on_host(x: Tensor) -> np.ndarray:
    found: np.ndarray = x.double().cpu().numpy()
    return found
