"""Encoder and heads as they are fine-tuned: waveforms in, scores out, with what they are compared with beside them.

B: utterances. S: samples. E: channels of an embedding. K: scores. n: utterances that have a head's target, and once
more those that an attack has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from emotion2vec.finetune.adapters import Adapters
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.asked import Asked, Labels
from emotion2vec.finetune.goals import Goal
from emotion2vec.finetune.losses import LossSettings
from emotion2vec.finetune.reversal import reverse
from emotion2vec.finetune.strategy import freeze
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.heads import Head
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.model.text import Told, answered
from emotion2vec.tasks.perturbation import adversarial


@dataclass
class Answers:
    """What a head says of the utterances of a micro-batch that have its target.

    Attributes:
        scores: (n, K) float32.
        targets: (n,) or (n, K), what they are compared with.
        weights: (n,) what the utterances count.
        embedded: (n, E) what the head's last layer reads, before it is mixed; None where nobody contrasts it.
        labels: by which it is contrasted.
        clean: how many come first that no attack has changed.
    """

    scores: Tensor
    targets: Tensor
    weights: Tensor
    embedded: Tensor | None
    labels: Labels | None
    clean: int

    @classmethod
    def joined(cls, parts: Sequence[Answers]) -> Answers:
        """Those of several micro-batches, one after the other."""
        embedded = [one.embedded for one in parts if one.embedded is not None]
        labels = [one.labels for one in parts if one.labels is not None]
        return cls(
            scores=torch.cat([one.scores for one in parts]),
            targets=torch.cat([one.targets for one in parts]),
            weights=torch.cat([one.weights for one in parts]),
            embedded=torch.cat(embedded) if embedded else None,
            labels=Labels.joined(labels) if labels else None,
            clean=parts[0].clean,
        )

    def counted(self, share: float) -> Answers:
        """The same, of which all counts so much less."""
        labels = self.labels and replace(self.labels, weights=share * self.labels.weights)
        return replace(self, weights=share * self.weights, labels=labels)


@dataclass(frozen=True)
class Attack:
    """How clips are made worse in training, see `tasks.perturbation.adversarial`.

    Attributes:
        epsilon: largest change of a sample, as a share of the clip's root mean square.
        steps: of gradient ascent.
        share: of changed clips in the loss.
        loss: () of the main head's answers, which is raised.
    """

    epsilon: float
    steps: int
    share: float
    loss: Callable[[Answers], Tensor]

    @classmethod
    def of(cls, settings: LossSettings, goal: Goal) -> Attack | None:
        """The one that settings ask for, which raises the loss of a goal; None for none."""
        if settings.adversarial == "none":
            return None
        steps = 1 if settings.adversarial == "fgsm" else settings.steps
        return cls(
            settings.epsilon,
            steps,
            settings.adversarial_share,
            lambda answers: goal.loss(answers.scores, answers.targets, answers.weights),
        )


@dataclass
class TuneOutput:
    """What one micro-batch contributes to an update.

    Attributes:
        answers: of each head, by its target.
        number: place of the micro-batch in its update on this process.
    """

    answers: dict[str, Answers]
    number: int


class TunedNetwork(nn.Module):
    """A speech encoder with its heads, and heads that are no part of it, behind gradient reversal.

    Parts that do not learn stay in eval mode, so that they are the same every time.

    Args:
        encoder: with its heads.
        lowest: how many of its parts, from the bottom, never learn.
        opposed: heads whose targets are unlearnt.
        adapters: what learns of the other parts, in place of all.

    Attributes:
        frozen: how many parts, from the bottom, do not learn now.
        keeps: whether `forward` takes what `below` gave, and not waveforms.
        attack: what is done to waveforms, which are learnt as they are too; None for nothing.
    """

    def __init__(
        self, encoder: SpeechEncoder, lowest: int, adapters: Adapters | None = None, opposed: Sequence[Head] = ()
    ):
        super().__init__()
        self.encoder = encoder
        self.opposed = nn.ModuleList(opposed)
        self.lowest = self.frozen = lowest
        self.adapters = adapters
        self.keeps = False
        self.attack: Attack | None = None
        freeze(encoder.parts(), lowest, adapters)
        self.train()  # what was opened came in eval mode

    def thaw(self, frozen: int) -> None:
        """Let so many parts, from the bottom, not learn from now on, and all others."""
        if frozen != self.frozen:
            self.frozen = frozen
            freeze(self.encoder.parts(), frozen, self.adapters)
            self.train(self.training)

    def train(self, mode: bool = True) -> TunedNetwork:
        """See `nn.Module`; what does not learn stays in eval mode."""
        super().train(mode)
        for part in self.encoder.parts()[: self.frozen]:
            part.train(False)
        for module in () if self.adapters is None else self.encoder.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):  # a Conformer's
                module.train(False)
        return self

    @property
    def heads(self) -> dict[str, Head]:
        """All heads by their targets, the model's first."""
        return self.encoder.heads(symbols=True) | {head.target: head for head in self.opposed if isinstance(head, Head)}

    def forward(
        self,
        waveforms: Tensor,
        padding: Tensor | None,
        asked: Mapping[str, Asked],
        reversals: Mapping[str, float],
        number: int,
    ) -> TuneOutput:
        """Score a micro-batch.

        Args:
            waveforms: (B, S) as the encoder wants to hear them; or (B, T, D), see `keeps`.
            padding: (B, S) or (B, T), True = padding; None where nothing is padded.
            asked: of each head.
            reversals: λ of heads behind gradient reversal.
            number: passed on.
        """

        def answered(heard: Tensor) -> dict[str, Answers]:
            read, hidden = self._above(heard, padding) if self.keeps else self._read(heard, padding)
            return {
                name: self._answers(name, _reversed(read[name], reversals.get(name)), hidden, one)
                for name, one in asked.items()
            }

        attack = self.attack
        if attack is None:
            return TuneOutput(answered(waveforms), number)
        changed = adversarial(
            waveforms,
            lambda heard: attack.loss(answered(heard)[MAIN]),
            attack.epsilon,
            steps=attack.steps,
            padding=padding,
        )
        clean, worse = answered(waveforms), answered(changed)
        answers = {
            name: Answers.joined([one.counted(1 - attack.share), worse[name].counted(attack.share)])
            for name, one in clean.items()
        }
        return TuneOutput(answers, number)

    def _answers(self, name: str, frames: Tensor, padding: Tensor | None, one: Asked) -> Answers:
        """What a head says of the frames that it reads, ([L,] T, D) each, of the utterances that have its target."""
        head = self.heads[name]
        said = (one.told,) if head.reads_text else ()
        embedded = head.embed(frames, padding, *said).index_select(0, one.rows)  # (n, E)
        mixed = embedded if one.shares is None else one.shares.to(embedded.dtype) @ embedded  # (n, E)
        scores = head.of_embedded(mixed).to(torch.float32)
        kept = None if one.labels is None else embedded
        return Answers(scores, one.targets, one.weights, kept, one.labels, len(scores))

    @property
    def _blocks(self) -> int:
        """Blocks that never learn."""
        return self.lowest - len(self.encoder.parts()) + len(self.encoder.blocks)

    @property
    def can_keep(self) -> bool:
        """Whether `below` and `above` are the two parts of `scores`: some block is frozen, and no head reads below it.

        Utterance tokens would have to be kept too, where blocks above learn; and blocks of others' encoders do not run
        by themselves.
        """
        encoder = self.encoder
        if any(head.reads_layers for head in self.heads.values()) or self._blocks < 1:
            return False
        if self._blocks == len(encoder.blocks):
            return True
        return isinstance(encoder, Emotion2vec) and (encoder.config.tokens, encoder.config.positions) == (0, "sinusoid")

    def below(self, waveforms: Tensor, padding: Tensor | None) -> Tensor:
        """What frozen blocks say (B, T, D) of waveforms (B, S)."""
        encoded = self.encoder(waveforms, padding)
        return encoded.frames if self._blocks == len(self.encoder.blocks) else encoded.layers[self._blocks - 1]

    def above(self, x: Tensor, padding: Tensor | None, told: Told | None = None) -> dict[str, Tensor]:
        """Scores (B, K) float32 by each head of what `below` gave (B, T, D), with padding (B, T)."""
        return self._scored(*self._above(x, padding), told)

    def scores(self, waveforms: Tensor, padding: Tensor | None, told: Told | None = None) -> dict[str, Tensor]:
        """Scores (B, K), or symbols of frames (B, T), float32 by each head of waveforms (B, S)."""
        return self._scored(*self._read(waveforms, padding), told)

    def _above(self, x: Tensor, padding: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """What each head reads (B, T, D) where `below` gave (B, T, D), and the padding (B, T)."""
        first = self._blocks
        if first < len(self.encoder.blocks):
            assert isinstance(self.encoder, Emotion2vec)  # see `can_keep`
            x = self.encoder.backbone(
                x, padding=padding, skip_blocks=range(first), before={first: lambda entered: x}
            ).x  # (B, T, D)
        return dict.fromkeys(self.heads, x), padding

    def _read(self, waveforms: Tensor, padding: Tensor | None) -> tuple[dict[str, Tensor], Tensor | None]:
        """What each head reads (B, [L,] T, D) of waveforms (B, S), and its padding (B, T)."""
        encoded = self.encoder(waveforms, padding)
        return {name: encoded.read_by(head) for name, head in self.heads.items()}, encoded.padding

    def _scored(self, read: Mapping[str, Tensor], padding: Tensor | None, told: Told | None) -> dict[str, Tensor]:
        """Scores (B, K) float32 by each head of what it reads."""
        return {name: answered(head, read[name], padding, told).to(torch.float32) for name, head in self.heads.items()}


def _reversed(x: Tensor, factor: float | None) -> Tensor:
    """The same, its gradient reversed where there is a factor."""
    return x if factor is None else reverse(x, factor)
