"""Fine-tuning as an objective: a head on an encoder learns labels, which go by the ids of utterances.

B: utterances of a micro-batch. U: utterances of an update. K: scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from emotion2vec.checkpoint.native import description
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.errors import AudioError, TrainingError
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.goals import Goal
from emotion2vec.finetune.kept import Kept, KeptRows, may_keep
from emotion2vec.finetune.network import TunedNetwork, TuneOutput
from emotion2vec.finetune.strategy import Thawing, parameter_groups
from emotion2vec.finetune.work import clip_flops
from emotion2vec.tasks.batch_losses import whole_gradient
from emotion2vec.training.metrics import exact
from emotion2vec.training.objective import Objective, ParameterGroup
from emotion2vec.training.ranks import Ranks


@dataclass(frozen=True)
class TuneSums:
    """What an update's micro-batches add up to.

    Attributes:
        loss: () weighted losses, of goals whose loss is a sum.
        goal: of `Goal.sums`.
    """

    loss: Tensor
    goal: Tensor


class Finetuning(Objective[TuneOutput, TuneSums]):
    """A goal of utterances, by its loss.

    Args:
        config: the run's configuration.
        network: encoder and head.
        goal: what is learnt of all utterances that train.
        thawing: which parts of the encoder learn when.
        rows: what frozen blocks said of clips in earlier runs of the same start.
    """

    name = "finetune"
    shown: ClassVar[Mapping[str, str]] = {
        "loss": "loss {:.3f}",
        "UA": "UA {:.1f}",
        "CCC": "CCC {:.3f}",
        "validation_UA": "validation UA {:.1f}",
        "validation_CCC": "validation CCC {:.3f}",
    }
    counted = ("weight", "clips")

    def __init__(self, config: FinetuneConfig, network: TunedNetwork, goal: Goal, thawing: Thawing, rows: KeptRows):
        super().__init__(network, network.encoder)
        self.config = config
        self.tuned = network
        self.goal = goal
        self.thawing = thawing
        self.rows = rows
        self._kept: Kept | None = None
        self._whole: list[Tensor] = []
        self._whole_loss: Tensor | None = None

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Weights of the clips, and how many there are."""
        return {"weight": sum(self.goal.weights[name] for name in batch.ids), "clips": len(batch.ids)}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, padding, targets, weights, and the place of the micro-batch."""
        self.tuned.thaw(self.thawing.frozen(update))
        weights = torch.tensor([self.goal.weights[name] for name in batch.ids])
        heard = (batch.waveforms, batch.padding) if self._kept is None else self._kept.inputs(batch, update)
        return *heard, self.goal.targets(batch.ids), weights, number

    def prepare(self, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> None:
        """Compute once what frozen blocks say of the clips, where that stays the same."""
        cuts = [cut for source in sources if isinstance(source, CutSource) for cut in source.cuts]
        seconds = sum(cut.duration for cut in cuts)
        if not may_keep(self.config, self.tuned, seconds):
            return
        new = self.rows.add(self.config.model, self.tuned, cuts)
        found = {cut.id: self.rows.rows[cut.id] for cut in cuts}
        faults = {name: one for name, one in found.items() if isinstance(one, AudioError)}
        kept = {name: one for name, one in found.items() if not isinstance(one, AudioError)}
        frames = int(self.model.config.grid.count(self.config.data.max_samples))
        self._kept, self.tuned.keeps = Kept(kept, self.config.run.seed, frames), True
        for source in sources:
            if isinstance(source, CutSource):
                source.silent = faults
        gigabytes = sum(row.numel() for row in kept.values()) * 2 / 1e9
        before = f", {len(found) - new} of them before" if new < len(found) else ""
        say(f"what frozen blocks say of {len(kept)} clips is computed once and kept{before}: {gigabytes:.2f} GB")

    def look_ahead(self, outputs: Callable[[], Sequence[TuneOutput]], batches: int, ranks: Ranks) -> None:
        """Gather the scores of the whole update where the loss compares them and they are in several parts."""
        self._whole = []
        if not self.goal.whole or batches * ranks.size == 1:
            return
        mine = [(one.scores.cpu(), one.targets.cpu(), one.weights.cpu()) for one in outputs()]
        everybody = ranks.gather(mine)
        scores, targets, weights = (
            torch.cat([part[place] for parts in everybody for part in parts]) for place in range(3)
        )  # (U, K), (U, K), (U,)
        self._whole_loss, gradient = whole_gradient(lambda found: self.goal.loss(found, targets, weights), scores)
        sizes = [len(part[0]) for parts in everybody for part in parts]
        first = sum(len(parts) for parts in everybody[: ranks.rank])
        self._whole = list(gradient.split(sizes)[first : first + len(mine)])

    def loss(self, output: TuneOutput, counts: Mapping[str, float]) -> Tensor:
        """The weighted mean over the clips of the update, or what sends back the gradient of a loss over them."""
        if self._whole:
            return (output.scores * self._whole[output.number].to(output.scores)).sum()
        loss = self.goal.loss(output.scores, output.targets, output.weights)
        return loss if self.goal.whole else loss / counts["weight"]

    def sums(self, outputs: Sequence[TuneOutput]) -> TuneSums:
        """Losses, and what the goal's metrics come of."""
        own = [self.goal.sums(one.scores, one.targets) for one in outputs]
        losses = [exact(self.goal.loss(one.scores, one.targets, one.weights)) for one in outputs]
        return TuneSums(torch.stack(losses).sum(), torch.stack(own).sum(dim=0))

    def metrics(self, sums: TuneSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """The loss, and the goal's metrics."""
        found = self.goal.metrics(sums.goal)
        loss = 1 - found[self.goal.main] if self.goal.whole else sums.loss / counts["weight"]
        return {"loss": loss, **found}

    def flops(self, batch: MicroBatch) -> float:
        """Operations of encoder and head, backward through what learns; none of what is kept."""
        below = self.tuned.frozen if self.tuned.keeps else 0
        return len(batch.ids) * clip_flops(self.model, batch.waveforms.shape[1], below)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Head and parts of the encoder, each at its rate."""
        return parameter_groups(self.model, self.config.optim, self.thawing.lowest, self.goal, self.tuned.adapters)

    def own_weights(self) -> dict[str, Tensor]:
        """Those of the encoder without adapters."""
        adapters = self.tuned.adapters
        return super().own_weights() if adapters is None else adapters.base()

    def saved_weights(self) -> dict[str, Tensor]:
        """Those of a plain encoder: what adapters add is in its weights."""
        adapters = self.tuned.adapters
        return super().saved_weights() if adapters is None else adapters.merged()

    def state(self) -> dict[str, Tensor]:
        """Adapters, and what their layers were before."""
        return {} if self.tuned.adapters is None else self.tuned.adapters.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """See `Objective`."""
        if self.tuned.adapters is not None:
            self.tuned.adapters.load(state)

    def description(self) -> dict[str, Any]:
        """The encoder's dimensions, labels and head."""
        head = self.model.head
        assert head is not None
        return description(self.model.config, head.labels, head.config)

    def scheduled(self, update: int) -> dict[str, float]:
        """Parts of the encoder that learn, where that changes."""
        parts = len(self.model.parts())
        return {"learning_parts": parts - self.thawing.frozen(update)} if self.thawing.every else {}

    def check(self, update: int, metrics: Mapping[str, float]) -> None:
        """After the first backward pass of anything that is to learn, it must have a gradient.

        Raises:
            TrainingError: something has none.
        """
        if update > 1 and self.thawing.frozen(update) == self.thawing.frozen(update - 1):
            return
        missed = [name for name, p in self.network.named_parameters() if p.requires_grad and p.grad is None]
        if missed:
            raise TrainingError(
                f"{len(missed)} trainable tensors got no gradient, so that they would never learn: "
                f"{', '.join(missed[:8])}{' ...' * (len(missed) > 8)}"
            )
