"""Fine-tuning as an objective: heads on an encoder learn labels, which go by the ids of utterances.

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
from emotion2vec.finetune.aims import Aim, asked, named
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.kept import Kept, KeptRows, may_keep
from emotion2vec.finetune.network import Answers, TunedNetwork, TuneOutput
from emotion2vec.finetune.reversal import ramp
from emotion2vec.finetune.strategy import Thawing, parameter_groups
from emotion2vec.finetune.work import clip_flops
from emotion2vec.tasks.batch_losses import whole_gradient
from emotion2vec.training.metrics import exact
from emotion2vec.training.objective import Objective, ParameterGroup
from emotion2vec.training.ranks import Ranks


@dataclass(frozen=True)
class TuneSums:
    """What an update's micro-batches add up to, by the names of aims.

    Attributes:
        losses: () weighted losses, of goals whose loss is a sum.
        goals: of `Goal.sums`.
    """

    losses: dict[str, Tensor]
    goals: dict[str, Tensor]


class Finetuning(Objective[TuneOutput, TuneSums]):
    """Goals of utterances, by the weighted sum of their losses; a clip that lacks a target still learns the others.

    Args:
        config: the run's configuration.
        network: encoder and heads.
        aims: what is learnt, by the targets of the heads.
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

    def __init__(
        self,
        config: FinetuneConfig,
        network: TunedNetwork,
        aims: Mapping[str, Aim],
        thawing: Thawing,
        rows: KeptRows,
    ):
        super().__init__(network, network.encoder)
        self.config = config
        self.tuned = network
        self.aims = aims
        self.counted = (*(named(name, "weight") for name in aims), "clips")
        self.thawing = thawing
        self.rows = rows
        self._kept: Kept | None = None
        self._whole: dict[str, list[Tensor]] = {}

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Weights of the clips that have each target, and how many clips there are."""
        weights = {name: aim.goal.weights for name, aim in self.aims.items()}
        found = {named(name, "weight"): sum(own.get(clip, 0.0) for clip in batch.ids) for name, own in weights.items()}
        return {**found, "clips": len(batch.ids)}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, padding, what heads are asked, factors of reversal, and the place of the micro-batch."""
        self.tuned.thaw(self.thawing.frozen(update))
        heard = (batch.waveforms, batch.padding) if self._kept is None else self._kept.inputs(batch, update)
        return *heard, asked(self.aims, batch.ids), self._reversals(update), number

    def _reversals(self, update: int) -> dict[str, float]:
        """The factor λ of each gradient reversal in an update."""
        share = ramp(update / self.config.optim.max_updates) if self.config.joint.ramp else 1.0
        return {name: share * aim.reversal for name, aim in self.aims.items() if aim.reversal is not None}

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
        """Gather the scores of the whole update where a loss compares them and they are in several parts."""
        self._whole = {}
        compared = [name for name, aim in self.aims.items() if aim.goal.whole]
        if not compared or batches * ranks.size == 1:
            return
        mine = [{name: _on_host(one.answers[name]) for name in compared} for one in outputs()]
        everybody = ranks.gather(mine)
        first = sum(len(parts) for parts in everybody[: ranks.rank])
        for name in compared:
            gradients = self._gradients(name, [part[name] for parts in everybody for part in parts])
            self._whole[name] = gradients[first : first + len(mine)]

    def _gradients(self, name: str, parts: Sequence[Answers]) -> list[Tensor]:
        """What each part (n, K) of an update's scores (U, K) has to send back of a loss that compares them."""
        scores, targets, weights = (
            torch.cat([getattr(part, item) for part in parts]) for item in ("scores", "targets", "weights")
        )  # (U, K), (U, K), (U,)
        _, gradient = whole_gradient(lambda found: self.aims[name].goal.loss(found, targets, weights), scores)
        return list(gradient.split([len(part.scores) for part in parts]))

    def loss(self, output: TuneOutput, counts: Mapping[str, float]) -> Tensor:
        """The weighted sum of the goals' losses."""
        losses = [aim.weight * self._loss_of(name, output, counts) for name, aim in self.aims.items()]
        return torch.stack(losses).sum()

    def _loss_of(self, name: str, output: TuneOutput, counts: Mapping[str, float]) -> Tensor:
        """The weighted mean over the clips of the update, or what sends back the gradient of a loss over them."""
        answers, goal = output.answers[name], self.aims[name].goal
        if name in self._whole:
            return (answers.scores * self._whole[name][output.number].to(answers.scores)).sum()
        loss = goal.loss(answers.scores, answers.targets, answers.weights)
        return loss if goal.whole else loss / (counts[named(name, "weight")] or 1.0)

    def sums(self, outputs: Sequence[TuneOutput]) -> TuneSums:
        """Losses, and what the goals' metrics come of."""
        losses, goals = {}, {}
        for name, aim in self.aims.items():
            answers = [one.answers[name] for one in outputs]
            own = [exact(aim.goal.loss(one.scores, one.targets, one.weights)) for one in answers]
            losses[name] = torch.stack(own).sum()
            goals[name] = torch.stack([aim.goal.sums(one.scores, one.targets) for one in answers]).sum(dim=0)
        return TuneSums(losses, goals)

    def metrics(self, sums: TuneSums, counts: Mapping[str, float]) -> dict[str, Tensor | float]:
        """The loss, and of every goal that clips of the update have its own loss and metrics."""
        losses: dict[str, Tensor | float] = {}
        metrics: dict[str, Tensor | float] = {}
        for name, aim in self.aims.items():
            if not (weight := counts[named(name, "weight")]):
                continue
            found = aim.goal.metrics(sums.goals[name])
            losses[name] = 1 - found[aim.goal.main] if aim.goal.whole else sums.losses[name] / weight
            metrics |= {named(name, metric): value for metric, value in found.items()}
        own = {named(name or "main", "loss"): loss for name, loss in losses.items()} if len(self.aims) > 1 else {}
        return {"loss": sum(self.aims[name].weight * loss for name, loss in losses.items()), **own, **metrics}

    def flops(self, batch: MicroBatch) -> float:
        """Operations of encoder and head, backward through what learns; none of what is kept."""
        below = self.tuned.frozen if self.tuned.keeps else 0
        return len(batch.ids) * clip_flops(self.model, batch.waveforms.shape[1], below)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Heads and parts of the encoder, each at its rate."""
        heads = [(head, self.aims[name].goal) for name, head in self.tuned.heads.items()]
        return parameter_groups(self.model, heads, self.config.optim, self.thawing.lowest, self.tuned.adapters)

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
        """The encoder's dimensions, labels and heads."""
        head = self.model.head
        assert head is not None
        return description(self.model.config, head.labels, head.config, self.model.further_heads())

    def scheduled(self, update: int) -> dict[str, float]:
        """Parts of the encoder that learn, where that changes, and factors of reversal."""
        parts = len(self.model.parts())
        learning = {"learning_parts": parts - self.thawing.frozen(update)} if self.thawing.every else {}
        return learning | {named(name, "reversal"): factor for name, factor in self._reversals(update).items()}

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


def _on_host(answers: Answers) -> Answers:
    return Answers(answers.scores.cpu(), answers.targets.cpu(), answers.weights.cpu())
