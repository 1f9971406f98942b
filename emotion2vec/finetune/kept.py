"""What frozen blocks say of clips, computed once: as long as nothing distorts the audio, it is the same every time.

N: clips. B: clips of a batch. T: frames. D: channels.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.data.config import AugmentConfig
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.scoring import together
from emotion2vec.seeding import keyed_seed


class Kept:
    """Sequences that enter the first block that learns, or the head, of every clip that trains; fp16, by ids.

    Clips that are longer than a crop are cropped here, so that frames see what is around the crop.

    Args:
        rows: of each clip (T, D).
        seed: key of crops.
        frames: of a crop at most.
    """

    def __init__(self, rows: dict[str, Tensor], seed: int, frames: int):
        self.rows = rows
        self.seed = seed
        self.frames = frames

    def inputs(self, batch: MicroBatch, update: int) -> tuple[Tensor, Tensor | None]:
        """Sequences of a micro-batch (B, T, D) float32, zeros behind them, and their padding (B, T)."""
        rows = []
        for name, key in zip(batch.ids, batch.keys, strict=True):
            row = self.rows[name]
            if (spare := len(row) - self.frames) > 0:
                random = np.random.default_rng(keyed_seed(self.seed, "frames", update, key))
                first = int(random.integers(spare + 1))
                row = row[first : first + self.frames]
            rows.append(row)
        return together(rows)


def may_keep(config: FinetuneConfig, network: TunedNetwork, seconds: float) -> bool:
    """Whether what is frozen says the same of a clip every time, and so many seconds of it fit into memory."""
    usual, model = AugmentConfig(), network.encoder
    still = all(getattr(config.augment, name) == getattr(usual, name) for name in vars(usual) if name.endswith("_prob"))
    bytes_of = 2 * model.config.width * seconds * SAMPLE_RATE / model.config.grid.stride
    fits = bytes_of <= config.finetune.keep_gb * 1e9
    return still and fits and not config.finetune.strategy.startswith("gradual") and network.can_keep
