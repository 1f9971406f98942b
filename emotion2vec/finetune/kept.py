"""What frozen blocks say of clips, computed once: as long as nothing distorts the audio, it is the same every time.

N: clips. B: clips of a batch. T: frames. D: channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.text import Texts, text_encoder
from emotion2vec.data.config import AugmentConfig
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.errors import AudioError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.decoding import TOGETHER, decoded
from emotion2vec.finetune.network import TunedNetwork
from emotion2vec.finetune.scoring import keep, together
from emotion2vec.model.config import CROSS
from emotion2vec.seeding import keyed_seed

if TYPE_CHECKING:
    from lhotse.cut import Cut


@dataclass
class KeptRows:
    """What frozen blocks say of clips, by their ids, for all the runs of a command.

    Runs that start from the same model and freeze as many parts of it share them; others begin anew.

    Attributes:
        of: the model's name, and how many of its parts never learn.
        rows: (T, D) fp16 of each clip, or why there is none.
        pooled: what heads read of whole clips (P) or (L, P) before anything learns, by model and kind of head.
        texts: what text encoders say, by their names and whether as means.
    """

    of: tuple[str, int] = ("", 0)
    rows: dict[str, Tensor | AudioError] = field(default_factory=dict)
    pooled: dict[tuple[str, str, str], dict[str, np.ndarray]] = field(default_factory=dict)
    texts: dict[tuple[str, bool], Texts] = field(default_factory=dict)

    def texts_of(self, config: FinetuneConfig, device: torch.device) -> Texts | None:
        """The texts that a new head reads; None for a head that reads none. Errors as for `text_encoder`."""
        name, pooled = config.text.encoder, config.head.kind != CROSS
        if name and (name, pooled) not in self.texts:
            self.texts[name, pooled] = Texts(text_encoder(name, str(device)), pooled=pooled)
        return self.texts.get((name, pooled))

    def add(self, model: str, network: TunedNetwork, cuts: Sequence[Cut]) -> int:
        """Compute what is missing of some clips, for a network that began as `model`, and give how many those were."""
        if self.of != (model, network.lowest):
            self.of, self.rows = (model, network.lowest), {}
        missing = [cut for cut in cuts if cut.id not in self.rows]
        for first in range(0, len(missing), TOGETHER):
            part = missing[first : first + TOGETHER]
            heard = decoded(part, normalizes=network.encoder.config.normalizes)
            found = dict(zip([cut.id for cut in part], heard, strict=True))
            sound = {name: one for name, one in found.items() if not isinstance(one, AudioError)}
            self.rows |= {name: one for name, one in found.items() if isinstance(one, AudioError)}
            self.rows |= dict(zip(sound, keep(network, [*sound.values()], network.encoder.device), strict=True))
        return len(missing)


class Kept:
    """Sequences that enter the first block that learns, or the head, of every clip that trains.

    Clips that are longer than a crop are cropped here, so that frames see what is around the crop.

    Args:
        rows: of each clip (T, D) fp16, by ids.
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
    still = still and config.loss.adversarial == "none"
    bytes_of = 2 * model.config.width * seconds * SAMPLE_RATE / model.config.grid.stride
    fits = bytes_of <= config.finetune.keep_gb * 1e9
    return still and fits and network.can_keep
