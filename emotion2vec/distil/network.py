"""The student with its prediction heads: waveforms and the teacher's layers in, losses and monitored values out.

B: clips. S: samples. T: frames that student and teacher have in common. V: student's width. D: teacher's width.
L: layers of the teacher. E: terms of the loss. K: classes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.distil.config import DistilConfig, Term, student_depth, terms
from emotion2vec.distil.losses import clip_statistics, cosine_loss, frame_distance, soft_loss
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import scaled_cnn
from emotion2vec.training.metrics import Moments
from emotion2vec.training.running import RunningMoments

STD_FLOOR = 1e-4
"""Added in quadrature to the running standard deviation of a channel."""


@dataclass
class DistilOutput:
    """What one batch contributes to an update, sums over its frames or clips; (E,) are of each term.

    Attributes:
        frame: (E,) distances of the frames that count.
        cosine: (E,) losses of angles of these frames.
        squared: (E,) squared errors of these frames, mean over channels, whatever the distance is.
        frames: (E,) how many these frames are.
        pooled: (E,) squared errors of clips' means and deviations; 0 where only masked frames count.
        soft: () divergences of clips from the teacher's head.
        clips: () clips that the teacher could say something of.
        layers: moments (L, D) of the teacher's layers as they are.
        targets: moments (E, D) of what is predicted at the frames that count.
    """

    frame: Tensor
    cosine: Tensor
    squared: Tensor
    frames: Tensor
    pooled: Tensor
    soft: Tensor
    clips: Tensor
    layers: Moments
    targets: Moments


class Predictor(nn.Sequential):
    """From the student's frames (B, T, V) to the teacher's (B, T, D): linear, or Vesper's norm, GELU and two layers."""

    def __init__(self, kind: str, inputs: int, outputs: int):
        if kind == "linear":
            super().__init__(nn.Linear(inputs, outputs))
        else:
            half = max(1, inputs // 2)
            super().__init__(nn.LayerNorm(inputs), nn.Linear(inputs, half), nn.GELU(), nn.Linear(half, outputs))
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)


class Distiller(nn.Module):
    """Student, prediction heads, and running statistics of the teacher's channels; the teacher is no part of it.

    Args:
        config: the run's configuration.
        width: the teacher's, D.
        labels: of the teacher's head, where the student gets one too.
    """

    def __init__(self, config: DistilConfig, width: int, labels: Sequence[str] = ()):
        super().__init__()
        self.student = Emotion2vec(config.model, labels)
        self.terms: list[Term] = terms(config)
        self.predictors = nn.ModuleList(Predictor(config.loss.predictor, config.model.width, width) for _ in self.terms)
        self.layers = sorted({term.layer for term in self.terms})
        self.statistics = nn.ModuleList(RunningMoments(width) for _ in self.layers)
        masked = {term.frames for term in self.terms} - {"all"}
        self.hidden = nn.ParameterDict(
            {kind: nn.Parameter(0.02 * torch.randn(config.model.width)) for kind in sorted(masked)}
        )
        self.middle = student_depth(config) // 2
        self.loss, self.standardize = config.loss, config.target.standardize
        self.cnn_grad_scale = config.optim.cnn_grad_scale if config.optim.cnn_lr_scale else 0.0
        if not self.cnn_grad_scale:  # parameters that wait for a gradient which never comes would stop DDP
            self.student.frontend.layers.requires_grad_(False)

    def forward(
        self,
        waveforms: Tensor,
        layers: Tensor,
        valid: Tensor,
        scores: Tensor | None = None,
        masks: Tensor | None = None,
        first: int = 0,
        skip_blocks: Collection[int] = (),
    ) -> DistilOutput:
        """Compute the losses of one batch.

        Args:
            waveforms: (B, S) as the student hears them.
            layers: (L, B, T, D) the teacher's, in the order of their numbers.
            valid: (B,) False where they are not finite.
            scores: (B, K) of the teacher's head, or None.
            masks: (2, B, T), True = hidden from the student at the input and in the middle, or None.
            first: the student's frame that the first of the T lies beside.
            skip_blocks: blocks that layerdrop leaves out, counted from the prenet's first.
        """
        seen = self._encode(waveforms, masks, first, skip_blocks)
        raw = torch.where(valid[None, :, None, None], layers.float(), 0.0)  # (L, B, T, D)
        targets = [self._standardized(raw[place], place) for place in range(len(self.layers))]
        common = slice(first, first + layers.shape[2])
        every = valid[:, None].expand(-1, layers.shape[2])  # (B, T)
        counted = {"all": every}
        if masks is not None:
            counted |= {kind: every & mask for kind, mask in zip(("input", "middle"), masks, strict=True)}
        parts = [
            self._term(term, predictor(seen[term.student - 1][:, common]), target, counted[term.frames], valid)
            for term, predictor in zip(self.terms, self.predictors, strict=True)
            for target in (targets[self.layers.index(term.layer)],)
        ]
        frame, cosine, squared, pooled = torch.stack([sums for sums, _ in parts]).unbind(dim=1)  # (E,) each
        soft = frame.new_zeros(())
        if scores is not None and self.student.head is not None:
            own = self.student.head(seen[-1])  # (B, K)
            soft = (soft_loss(own, scores, self.loss.temperature) * valid).sum()
        return DistilOutput(
            frame=frame,
            cosine=cosine,
            squared=squared,
            frames=torch.stack([counted[term.frames].sum() for term in self.terms]),
            pooled=pooled,
            soft=soft,
            clips=valid.sum(),
            layers=stacked([Moments.of(layer[every]) for layer in raw]),
            targets=stacked([moments for _, moments in parts]),
        )

    def _term(
        self, term: Term, prediction: Tensor, target: Tensor, counted: Tensor, valid: Tensor
    ) -> tuple[Tensor, Moments]:
        """Distances, angles, squared errors, and pooled errors, summed (4,), of predictions (B, T, D)."""
        prediction = prediction.float()
        zero = prediction.new_zeros(())
        squared = frame_distance("mse", prediction, target)  # (B, T)
        kind = self.loss.distance
        distance = squared if kind == "mse" else frame_distance(kind, prediction, target)
        cosine = (cosine_loss(prediction, target) * counted).sum() if self.loss.cosine else zero
        pooled = zero
        if self.loss.pooled and term.frames == "all":
            apart = (clip_statistics(prediction) - clip_statistics(target)).square().mean(dim=2).sum(dim=0)  # (B,)
            pooled = (apart * valid).sum()
        sums = [(distance * counted).sum(), cosine, (squared * counted).sum().detach(), pooled]
        return torch.stack(sums), Moments.of(target[counted])

    def _encode(
        self, waveforms: Tensor, masks: Tensor | None, first: int, skip_blocks: Collection[int]
    ) -> list[Tensor]:
        """Outputs (B, T', V) of the student's blocks at all of its own frames T'."""
        tokens = self.student.config.tokens
        local = self.student.frontend.project(scaled_cnn(self.student.frontend, waveforms, self.cnn_grad_scale))
        hide = {}
        if masks is not None:
            whole = [self._whole(mask, local.shape[1], first) for mask in masks]  # (B, T') each
            if "input" in self.hidden:
                local = torch.where(whole[0][..., None], self.hidden["input"].to(local.dtype), local)
            if "middle" in self.hidden:
                padded = nn.functional.pad(whole[1], (tokens, 0))[..., None]  # (B, N + T', 1)
                hide[self.middle] = lambda x: torch.where(padded, self.hidden["middle"].to(x.dtype), x)
        out = self.student.backbone(local, skip_blocks=skip_blocks, before=hide)
        return [layer[:, tokens:] for layer in out.layers]

    @staticmethod
    def _whole(mask: Tensor, frames: int, first: int) -> Tensor:
        """A mask (B, T) over the common frames as one over all of the student's (B, T')."""
        return nn.functional.pad(mask, (first, frames - first - mask.shape[1]))

    def _standardized(self, layer: Tensor, place: int) -> Tensor:
        """A layer of the teacher (B, T, D) as it is to be predicted."""
        if not self.standardize:
            return layer
        known = self.statistics[place]
        assert isinstance(known, RunningMoments)
        variance = (known.square - known.mean.square()).clamp(min=0)  # (D,)
        return (layer - known.mean) / (variance + STD_FLOOR**2).sqrt()

    def take_in(self, layers: Moments) -> None:
        """Take in the moments (L, D) of the teacher's layers over an update; one without any clip says nothing."""
        for place, known in enumerate(self.statistics):
            assert isinstance(known, RunningMoments)
            count = layers.count[place].clamp(min=1)
            if layers.count[place] > 0:
                known.take_in(layers.total[place] / count, layers.square[place] / count)


def stacked(moments: Sequence[Moments]) -> Moments:
    """Moments of several sets of rows in one: counts (n, 1), sums (n, D)."""
    return Moments(
        torch.stack([one.count.reshape(1) for one in moments]),
        torch.stack([one.total for one in moments]),
        torch.stack([one.square for one in moments]),
    )
