"""What heads are asked about a micro-batch: targets and weights of its clips, mixed where clips are.

A mixture counts as its parts do: to learn it is to learn each part with its share of its own weight.

B: clips of a micro-batch. n: those of them that have a target. E: channels of an embedding. K: scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from emotion2vec.data.micro_batch import Mixture
from emotion2vec.finetune.aims import Aim
from emotion2vec.finetune.goals import Goal
from emotion2vec.model.text import Told


@dataclass
class Labels:
    """The classes by which embeddings are contrasted.

    Attributes:
        numbers: (n,) of the class that each clip has the most of.
        weights: (n,) what the clips count.
    """

    numbers: Tensor
    weights: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """Those of several micro-batches, one after the other."""
        return cls(torch.cat([one.numbers for one in parts]), torch.cat([one.weights for one in parts]))


@dataclass
class Asked:
    """What is asked of a head about a micro-batch.

    Attributes:
        rows: (n,) places of the clips that have its target.
        targets: (n,) or (n, K), what their scores are compared with.
        weights: (n,) what they count.
        shares: (n, n) how embeddings are mixed, each row adding up to 1; None for not at all.
        labels: of the clips before that; None where embeddings are not contrasted.
        told: what is said in all clips (B) of the micro-batch; None for a head that reads no texts.
    """

    rows: Tensor
    targets: Tensor
    weights: Tensor
    shares: Tensor | None = None
    labels: Labels | None = None
    told: Told | None = None


def asked(aims: Mapping[str, Aim], ids: Sequence[str], mixtures: Sequence[Mixture | None] = ()) -> dict[str, Asked]:
    """What each head is asked about clips, by the name of its aim.

    Args:
        aims: goals.
        ids: of the clips.
        mixtures: what each was mixed with; empty for nothing.
    """
    found = {}
    for name, aim in aims.items():
        known = aim.goal.weights
        mixed = mixtures or [None] * len(ids)
        rows = [
            row
            for row, (clip, mixture) in enumerate(zip(ids, mixed, strict=True))
            if clip in known and (mixture is None or (aim.goal.mixes and mixture.other in known))
        ]
        heard = [ids[row] for row in rows]
        others = {place: mixture for place, row in enumerate(rows) if (mixture := mixed[row]) is not None}
        every = [*heard, *(mixture.other for mixture in others.values())]
        targets = aim.goal.targets(every)
        weights = torch.tensor([known[clip] for clip in every], dtype=torch.float32)
        if mixtures and aim.goal.mixes:  # of every batch, so that targets of all are of one kind
            shares = torch.eye(len(heard), len(every))
            for column, (place, mixture) in enumerate(others.items(), start=len(heard)):
                shares[place, place], shares[place, column] = mixture.share, 1 - mixture.share
            targets, weights = aim.goal.mixed(targets, weights, shares)
        found[name] = Asked(torch.tensor(rows, dtype=torch.long), targets, weights)
    return found


def mixed_up(one: Asked, goal: Goal, alpha: float, rng: np.random.Generator) -> Asked:
    """The same for embeddings of which each is mixed with another one of the micro-batch (Verma et al., 2019).

    The share λ is drawn from Beta(α, α), one for all, so that weights add up to what they did.

    Args:
        one: about clips as they are.
        goal: of the head.
        alpha: α, small for shares near 0 and 1.
        rng: draws.
    """
    share, partners = rng.beta(alpha, alpha), torch.from_numpy(rng.permutation(len(one.rows)))
    itself = torch.eye(len(one.rows))
    shares = share * itself + (1 - share) * itself[partners]
    targets, weights = goal.mixed(one.targets, one.weights, shares)
    return replace(one, targets=targets, weights=weights, shares=shares)


def labels_of(one: Asked) -> Labels:
    """The classes of clips, for which distributions stand by what they have the most of."""
    return Labels(one.targets if one.targets.ndim == 1 else one.targets.argmax(dim=1), one.weights)
