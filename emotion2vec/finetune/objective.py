"""Fine-tuning as an objective: heads on an encoder learn labels, which go by the ids of utterances.

B: utterances of a micro-batch. U: utterances of an update. E: channels of an embedding. K: scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from emotion2vec.checkpoint.native import description
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.errors import AudioError, TrainingError
from emotion2vec.finetune.aims import MAIN, Aim, named
from emotion2vec.finetune.asked import Asked, Labels, asked, labels_of, mixed_up
from emotion2vec.finetune.config import FinetuneConfig
from emotion2vec.finetune.kept import Kept, KeptRows, may_keep
from emotion2vec.finetune.network import Answers, Attack, TunedNetwork, TuneOutput
from emotion2vec.finetune.reversal import ramp
from emotion2vec.finetune.strategy import Thawing, parameter_groups
from emotion2vec.finetune.texts import Transcripts
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.batch_losses import supervised_contrastive, whole_gradient
from emotion2vec.training.metrics import exact, mapped
from emotion2vec.training.objective import Objective, ParameterGroup
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.work import clip_flops


@dataclass(frozen=True)
class TuneSums:
    """What an update's micro-batches add up to, by the names of aims.

    Attributes:
        losses: () weighted losses, of goals whose loss is a sum.
        goals: of `Goal.sums`, of clips as they are.
        attacked: the main goal's, of clips that an attack has changed; empty without one.
    """

    losses: dict[str, Tensor]
    goals: dict[str, Tensor]
    attacked: dict[str, Tensor]


class Finetuning(Objective[TuneOutput, TuneSums]):
    """Goals of utterances, by the weighted sum of their losses; a clip that lacks a target still learns the others.

    Args:
        config: the run's configuration.
        network: encoder and heads.
        aims: what is learnt, by the targets of the heads.
        thawing: which parts of the encoder learn when.
        rows: what frozen blocks said of clips in earlier runs of the same start.
        transcripts: what is said in clips; None for a main head that reads no texts.
    """

    name = "finetune"
    shown: ClassVar[Mapping[str, str]] = {
        "loss": "loss {:.3f}",
        "UA": "UA {:.1f}",
        "CCC": "CCC {:.3f}",
        "validation_UA": "validation UA {:.1f}",
        "validation_CCC": "validation CCC {:.3f}",
        "validation_phonemes_PER": "validation PER {:.1f}",
    }

    def __init__(
        self,
        config: FinetuneConfig,
        network: TunedNetwork,
        aims: Mapping[str, Aim],
        thawing: Thawing,
        rows: KeptRows,
        transcripts: Transcripts | None = None,
    ):
        super().__init__(network, network.encoder)
        self.config = config
        self.tuned = network
        self.aims = aims
        self.counted = (*(named(name, "weight") for name in aims), "clips")
        self.thawing = thawing
        self.rows, self.transcripts = rows, transcripts
        self._kept: Kept | None = None
        self._whole: dict[str, list[Tensor]] = {}
        self._pulls: list[Tensor] = []
        self._contrast: Tensor | float = 0.0
        network.attack = Attack.of(config.loss, aims[MAIN].goal)

    def counts(self, batch: MicroBatch) -> dict[str, float]:
        """Weights of the clips that have each target, and how many clips there are."""
        weights = {name: one.weights.double() for name, one in asked(self.aims, batch.ids, batch.mixtures).items()}
        found = {named(name, "weight"): float(own.sum()) for name, own in weights.items()}
        return {**found, "clips": len(batch.ids)}

    def inputs(self, batch: MicroBatch, update: int, number: int) -> tuple[Any, ...]:
        """Waveforms, padding, what heads are asked, factors of reversal, and the place of the micro-batch."""
        self.tuned.thaw(self.thawing.frozen(update))
        heard = (batch.waveforms, batch.padding) if self._kept is None else self._kept.inputs(batch, update)
        return *heard, self._asked(batch, update), self._reversals(update), number

    def _asked(self, batch: MicroBatch, update: int) -> dict[str, Asked]:
        """What heads are asked about a micro-batch, mixed up and with labels to contrast where that is wanted."""
        found, alpha = asked(self.aims, batch.ids, batch.mixtures), self.config.loss.mixup
        if self.config.loss.contrast:
            found[MAIN] = replace(found[MAIN], labels=labels_of(found[MAIN]))
        for name, one in found.items() if alpha else ():
            if not self.aims[name].goal.mixes:
                continue
            rng = np.random.default_rng(keyed_seed(self.config.run.seed, "mixup", update, name, *batch.keys))
            found[name] = mixed_up(one, self.aims[name].goal, alpha, rng)
        if self.transcripts is not None:
            found[MAIN] = replace(found[MAIN], told=self.transcripts.of(batch, update))
        return found

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
        """Gather what the whole update gives where a loss compares its clips and they are in several parts."""
        self._whole, self._pulls = {}, []
        compared = [name for name, aim in self.aims.items() if aim.goal.whole]
        contrasts = self.config.loss.contrast > 0
        if not (compared or contrasts) or batches * ranks.size == 1:
            return
        wanted = {*compared, MAIN} if contrasts else {*compared}
        mine = [{name: mapped(one.answers[name], Tensor.cpu) for name in wanted} for one in outputs()]
        everybody = ranks.gather(mine)
        first = sum(len(parts) for parts in everybody[: ranks.rank])
        own = slice(first, first + len(mine))
        for name in compared:
            parts = [part[name] for parts in everybody for part in parts]
            self._whole[name] = self._gradients(name, parts)[own]
        if contrasts:
            self._pulls = self._contrasts([part[MAIN] for parts in everybody for part in parts])[own]

    def _gradients(self, name: str, parts: Sequence[Answers]) -> list[Tensor]:
        """What each part (n, K) of an update's scores (U, K) has to send back of a loss that compares them."""
        whole, goal = Answers.joined(parts), self.aims[name].goal
        _, gradient = whole_gradient(lambda found: goal.loss(found, whole.targets, whole.weights), whole.scores)
        return list(gradient.split([len(part.scores) for part in parts]))

    def _contrasts(self, parts: Sequence[Answers]) -> list[Tensor]:
        """What each part (n, E) of an update's embeddings (U, E) has to send back of their contrast, which is kept."""
        whole = Answers.joined(parts)
        assert whole.embedded is not None
        self._contrast, gradient = whole_gradient(
            lambda found: _contrasted(found, whole.labels, self.config.loss.temperature), whole.embedded.float()
        )
        return list(gradient.split([len(part.scores) for part in parts]))

    def loss(self, output: TuneOutput, counts: Mapping[str, float]) -> Tensor:
        """The weighted sum of the goals' losses, and of the contrast."""
        losses = [aim.weight * self._loss_of(name, output, counts) for name, aim in self.aims.items()]
        if self.config.loss.contrast:
            losses.append(self.config.loss.contrast * self._contrast_of(output))
        return torch.stack(losses).sum()

    def _contrast_of(self, output: TuneOutput) -> Tensor:
        """The contrast of an update that is one batch, or what sends back the gradient of that over several."""
        answers = output.answers[MAIN]
        assert answers.embedded is not None
        if self._pulls:
            return (answers.embedded.float() * self._pulls[output.number].to(answers.embedded.device)).sum()
        found = _contrasted(answers.embedded, answers.labels, self.config.loss.temperature)
        self._contrast = found.detach()
        return found

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
            clean = [aim.goal.sums(one.scores[: one.clean], one.targets[: one.clean]) for one in answers]
            goals[name] = torch.stack(clean).sum(dim=0)
        return TuneSums(losses, goals, {} if self.tuned.attack is None else {MAIN: self._attacked(outputs)})

    def _attacked(self, outputs: Sequence[TuneOutput]) -> Tensor:
        """`Goal.sums` of the clips that an attack has changed, by the main goal."""
        answers, goal = [one.answers[MAIN] for one in outputs], self.aims[MAIN].goal
        return torch.stack([goal.sums(one.scores[one.clean :], one.targets[one.clean :]) for one in answers]).sum(dim=0)

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
        for attacked in sums.attacked.values():
            worse = self.aims[MAIN].goal.metrics(attacked)
            metrics |= {named("adversarial", metric): value for metric, value in worse.items()}
        total = sum(self.aims[name].weight * loss for name, loss in losses.items())
        if weight := self.config.loss.contrast:
            total, own = total + weight * self._contrast, own | {"contrast": self._contrast}
        return {"loss": total, **own, **metrics}

    def flops(self, batch: MicroBatch) -> float:
        """Operations of encoder and head, backward through what learns; none of what is kept."""
        below, attack = self.tuned.lowest if self.tuned.keeps else 0, self.tuned.attack
        passes = 1 if attack is None else 2 + attack.steps
        return passes * len(batch.ids) * clip_flops(self.model, batch.waveforms.shape[1], below)

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
        learning = {"learning_parts": parts - self.thawing.frozen(update)} if self.thawing.changes else {}
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


def _contrasted(embedded: Tensor, labels: Labels | None, temperature: float) -> Tensor:
    assert labels is not None
    return supervised_contrastive(embedded, labels.numbers, temperature, labels.weights)
