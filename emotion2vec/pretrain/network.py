"""Student, teacher and decoder together: waveforms and masks in, losses and monitored values out.

B: utterances. M: views. S: samples. T: frames. K: frames that the student sees. D: model width. N: utterance tokens.
C: CNN channels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import scaled_cnn
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.pretrain.decoder import Decoder
from emotion2vec.pretrain.ema import Teacher
from emotion2vec.pretrain.losses import frame_loss_sum, utterance_loss_sum
from emotion2vec.pretrain.masking import visible_indices
from emotion2vec.pretrain.targets import UtteranceTarget, frame_targets
from emotion2vec.training.metrics import Moments


@dataclass
class PretrainOutput:
    """What one batch contributes to an update.

    Attributes:
        frame_loss: sum over masked frames of the frame loss.
        utterance_loss: sum over views of the utterance loss; 0 where there is none.
        masked: masked frames in all views.
        views: B·M.
        targets: moments of the targets at masked frames.
        predictions: moments of the predictions at masked frames.
        pooled: (B, D) the teacher's pooled outputs, for the running statistics.
        cnn: (B, T, C) CNN features, detached, to watch their rank.
        embedded: (B, D) the student's outputs, those that the utterance loss compares, mean over them and views; None
            where no labels are learnt.
        labels: (B,) class numbers, below 0 where unknown; None likewise.
        number: place of the batch in the update.
    """

    frame_loss: Tensor
    utterance_loss: Tensor
    masked: int
    views: int
    targets: Moments
    predictions: Moments
    pooled: Tensor
    cnn: Tensor
    embedded: Tensor | None = None
    labels: Tensor | None = None
    number: int = 0


class Pretrainer(nn.Module):
    """The data2vec 2.0 objective with emotion2vec's utterance loss."""

    def __init__(self, config: PretrainConfig):
        super().__init__()
        self.student = Emotion2vec(config.model)
        self.decoder = Decoder(config.decoder, config.model.width)
        self.teacher = Teacher(self.student, frontend=config.ema.frontend)
        self.utterance_target = UtteranceTarget(config.loss.utterance_target, config.model.width)
        self.loss = config.loss
        self.cnn_grad_scale = config.optim.cnn_grad_scale if config.optim.cnn_lr_scale else 0.0
        if not self.cnn_grad_scale:  # parameters that wait for a gradient which never comes would stop DDP
            self.student.frontend.layers.requires_grad_(False)

    def forward(
        self,
        waveforms: Tensor,
        mask: Tensor,
        skip_blocks: Collection[int] = (),
        labels: Tensor | None = None,
        number: int = 0,
    ) -> PretrainOutput:
        """Compute the losses of one batch.

        Args:
            waveforms: (B, S) normalized samples of equal length.
            mask: (B, M, T), True = masked, the same number in every row.
            skip_blocks: blocks that layerdrop leaves out of the student, counted from the prenet's first.
            labels: (B,) class numbers of utterances that are embedded, see `PretrainOutput`.
            number: place of the batch in the update.
        """
        batch, views, length = mask.shape
        cnn = scaled_cnn(self.student.frontend, waveforms, self.cnn_grad_scale)  # (B, T, C)
        local = self.student.frontend.project(cnn)  # (B, T, D)
        count = self.student.config.tokens
        ffn = self._taught(waveforms, local)
        targets, pooled = frame_targets(ffn), self.utterance_target.pool(ffn)

        rows = mask.flatten(0, 1)  # (B·M, T)
        visible = visible_indices(rows)  # (B·M, K)
        seen = self.student.backbone(
            local.repeat_interleave(views, dim=0), visible=visible, skip_blocks=skip_blocks
        ).x  # (B·M, N+K, D)
        tokens, frames = seen[:, :count], seen[:, count:]
        decoded = self.decoder(frames, visible, length).unflatten(0, (batch, views))  # (B, M, T, D)

        utterance_loss = decoded.new_zeros((), dtype=torch.float32)
        if self.loss.utterance != "none":
            utterance_loss = utterance_loss_sum(
                self.loss.utterance,
                tokens.unflatten(0, (batch, views)),
                frames.unflatten(0, (batch, views)),
                self.utterance_target(pooled),
            )
        return PretrainOutput(
            frame_loss=frame_loss_sum(decoded, targets, mask),
            utterance_loss=utterance_loss,
            masked=rows.shape[0] * (length - visible.shape[1]),
            views=rows.shape[0],
            targets=Moments.of(targets.unsqueeze(1).expand_as(decoded)[mask]),
            predictions=Moments.of(decoded[mask]),
            pooled=pooled,
            cnn=cnn.detach(),
            embedded=None if labels is None else self._embedded(tokens, frames, views),
            labels=labels,
            number=number,
        )

    def _embedded(self, tokens: Tensor, frames: Tensor, views: int) -> Tensor:
        """What utterances are compared by, (B, D): tokens (B·M, N, D) where their loss has them, else frames."""
        outputs = tokens if self.loss.utterance in ("token", "chunk") else frames
        return outputs.float().mean(dim=1).unflatten(0, (-1, views)).mean(dim=1)

    @torch.no_grad()
    def pooled(self, waveforms: Tensor) -> Tensor:
        """The teacher's pooled outputs (B, D) of waveforms (B, S), before anything is masked or learned."""
        local = self.student.frontend.project(self.student.frontend.cnn(waveforms))
        return self.utterance_target.pool(self._taught(waveforms, local))

    def _taught(self, waveforms: Tensor, local: Tensor) -> list[Tensor]:
        """What the teacher's top blocks say of the frames, (B, T, D) each."""
        ffn = self.teacher(waveforms, local).ffn[-self.loss.top_k :]
        return [layer[:, self.student.config.tokens :] for layer in ffn]
