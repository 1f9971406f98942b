"""The training loop: fetch, forward and backward, update with EMA, log, save.

B: utterances. M: views. S: samples. T: frames. D: model width.
"""

from __future__ import annotations

import dataclasses
import random
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emotion2vec.audio import frame_count
from emotion2vec.checkpoint.native import load_weights
from emotion2vec.config import PretrainConfig
from emotion2vec.data.augment import build_augmenter
from emotion2vec.data.batches import MicroBatch, Position, batches
from emotion2vec.data.sources import Source
from emotion2vec.objective.masking import batch_masks, masked_frames
from emotion2vec.objective.pretrainer import Pretrainer, PretrainOutput
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.interrupts import Interrupts
from emotion2vec.training.monitor import Monitor, check_collapse, check_finite, effective_rank, update_metrics
from emotion2vec.training.optimizer import build_optimizer, set_learning_rate
from emotion2vec.training.run_folder import RunFolder, TrainingState
from emotion2vec.training.schedules import ema_decay, learning_rate

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class FitResult:
    """How a run ended: after which update, and by which signal if it was interrupted."""

    update: int
    signal: int | None


class Trainer:
    """Trains a `Pretrainer` on sources of audio and keeps everything that a restart needs in the run folder."""

    def __init__(
        self,
        config: PretrainConfig,
        fabric: Fabric,
        pretrainer: Pretrainer,
        sources: Sequence[Source],
        folder: RunFolder,
    ):
        self.config = config
        self.fabric = fabric
        self.pretrainer = pretrainer
        self.sources = sources
        self.folder = folder
        self.update = 0
        self.saved: int | None = None
        self.position = Position()
        optimizer = build_optimizer(pretrainer, config.optim)
        self.module, self.optimizer = fabric.setup(pretrainer, optimizer)

    def fit(self) -> FitResult:
        """Train from where the run folder stands to `optim.max_updates`, or until SIGINT or SIGTERM.

        Raises:
            TrainingError: a loss or gradient is not finite, or the representation has collapsed.
            CheckpointError: the checkpoint to resume from cannot be read.
        """
        self._resume()
        self.folder.truncate_metrics(self.update)
        last = self.config.optim.max_updates
        monitor = Monitor(self.folder.metrics_file, self.config.log, first=self.update + 1, last=last)
        data = self._batches()
        try:
            if self.update:
                monitor.say(f"resumed after update {self.update} from {self.folder.path}")
            with Interrupts() as interrupts:
                while self.update < last and not interrupts.caught:
                    self._run_update(data, monitor)
                    if self.update % self.config.checkpoint.every == 0 and self.update < last:
                        self._save()
                self._save()
            return FitResult(self.update, interrupts.caught)
        finally:
            data.close()
            monitor.close()

    def _batches(self) -> Generator[MicroBatch, None, None]:
        data = self.config.data
        augmenter = build_augmenter(self.config.augment, max_bad_share=data.max_bad_share, workers=data.workers)
        return batches(
            self.sources,
            max_seconds=data.batch_seconds,
            max_samples=data.max_samples,
            buckets=data.buckets,
            seed=self.config.run.seed,
            accumulate=self.config.optim.accumulate,
            min_samples=data.min_samples,
            length_step=data.length_step,
            window=data.window,
            augmenter=augmenter,
            patience=data.patience,
            start=self.position,
            workers=data.workers,
            cache=data.cache,
        )

    def _run_update(self, data: Generator[MicroBatch, None, None], monitor: Monitor) -> None:
        update, started = self.update + 1, time.perf_counter()
        micro_batches = list(islice(data, self.config.optim.accumulate))
        waited = time.perf_counter() - started
        for fault in [fault for batch in micro_batches for fault in batch.skipped]:
            monitor.say(f"skipped: {fault}")

        outputs, frames = self._forward_backward(update, micro_batches)
        metrics = update_metrics(outputs, self.config.loss, frames)
        metrics["grad_norm"] = self._grad_norm()
        check_finite(update, metrics, [name for batch in micro_batches for name in batch.ids])
        check_collapse(update, metrics | self._utterance_target_std(), self.config.guard)
        metrics |= self._step(update, outputs)

        self.update, self.position = update, micro_batches[-1].position
        metrics |= self._utterance_target_std()
        seconds = time.perf_counter() - started
        metrics["seconds"] = seconds
        metrics["data_wait"] = waited / seconds
        metrics["audio_seconds_per_second"] = sum(batch.seconds for batch in micro_batches) / seconds
        if update % self.config.log.every == 0 or update in (1, self.config.optim.max_updates):
            metrics["cnn_rank"] = effective_rank(outputs[-1].cnn)
            monitor.log(update, metrics)
            self.fabric.log_dict(metrics, step=update)

    def _forward_backward(self, update: int, micro_batches: Sequence[MicroBatch]) -> tuple[list[PretrainOutput], int]:
        """Accumulate the gradients of one update; losses are means over masked frames and views of all its batches."""
        lengths = [self._frames(batch) for batch in micro_batches]
        rows = [len(batch.ids) * self.config.mask.views for batch in micro_batches]
        masked = sum(
            count * masked_frames(length, self.config.mask.prob) for count, length in zip(rows, lengths, strict=True)
        )
        outputs = []
        for number, (batch, length) in enumerate(zip(micro_batches, lengths, strict=True)):
            mask = batch_masks(batch.ids, length, self.config.mask, seed=self.config.run.seed, update=update)
            self._seed(update, number)
            output = self.module(
                batch.waveforms.to(self.fabric.device),
                mask.to(self.fabric.device),
                self._skipped_blocks(update, number),
            )
            loss = output.frame_loss / masked
            if self.config.loss.utterance != "none":
                loss = loss + self.config.loss.alpha * output.utterance_loss / sum(rows)
            self.fabric.backward(loss)
            outputs.append(detached(output))
        return outputs, sum(count * length for count, length in zip(rows, lengths, strict=True))

    def _frames(self, batch: MicroBatch) -> int:
        return frame_count(batch.waveforms.shape[1], self.config.model.kernels, self.config.model.strides)

    def _seed(self, update: int, number: int) -> None:
        """Key dropout and mask noise by update and batch, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(keyed_seed(self.config.run.seed, "dropout", update, number, self.fabric.global_rank))

    def _skipped_blocks(self, update: int, number: int) -> frozenset[int]:
        """Blocks that layerdrop leaves out of one batch, the same on every rank."""
        rng = random.Random(keyed_seed(self.config.run.seed, "layerdrop", update, number))
        model = self.config.model
        return frozenset(i for i in range(model.prenet_depth + model.depth) if rng.random() < model.layerdrop)

    def _grad_norm(self) -> float:
        """Clip the gradients if asked for, and return their norm before that."""
        limit = self.config.optim.clip_norm or float("inf")
        norm = self.fabric.clip_gradients(self.module, self.optimizer, max_norm=limit, error_if_nonfinite=False)
        assert norm is not None  # only clipping by value returns nothing
        # fp16's loss scaling expects overflows, skips the step by itself and lowers its scale.
        return 0.0 if self.config.run.precision == "fp16" and not norm.isfinite() else float(norm)

    def _step(self, update: int, outputs: Sequence[PretrainOutput]) -> dict[str, float]:
        """Move student, then teacher, then the statistics of the utterance target."""
        rate, decay = learning_rate(update, self.config.optim), ema_decay(update, self.config.ema)
        set_learning_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.pretrainer.teacher.update(self.pretrainer.student, decay)
        self.pretrainer.utterance_target.update(torch.cat([output.pooled for output in outputs]))
        return {"lr": rate, "ema_decay": decay}

    def _utterance_target_std(self) -> dict[str, float]:
        if self.config.loss.utterance == "none":
            return {}
        return {"utterance_target_std": float(self.pretrainer.utterance_target.std().mean())}

    def _save(self) -> None:
        """Write a checkpoint of the state after the current update, unless it is there already."""
        if self.saved == self.update:
            return
        values = {
            "update": self.update,
            "position": dataclasses.asdict(self.position),
            "scaler": self._scaler_state(),
        }
        self.folder.save(TrainingState(values, self.pretrainer.student.state_dict(), self._tensors()))
        self.saved = self.update

    def _resume(self) -> None:
        """Take up the newest checkpoint of the run folder, if there is one."""
        state = self.folder.load()
        if state is None:
            return
        name = str(self.folder.path)
        load_weights(self.pretrainer.student, state.weights, name)
        load_weights(self.pretrainer, _rest(state.tensors, "pretrainer.", self.pretrainer), name)
        for key, parameter in self.pretrainer.named_parameters():
            if f"optimizer.step.{key}" in state.tensors:
                self.optimizer.state[parameter] = {
                    part: state.tensors[f"optimizer.{part}.{key}"].to("cpu" if part == "step" else parameter.device)
                    for part in ("step", "exp_avg", "exp_avg_sq")
                }
        if (scaler := self._scaler()) is not None:
            scaler.load_state_dict(state.values["scaler"])
        self.update = self.saved = state.values["update"]
        self.position = Position(**state.values["position"])

    def _tensors(self) -> dict[str, Tensor]:
        """Everything beside the student: teacher, decoder, running statistics, Adam's moments by parameter name."""
        tensors = {
            f"pretrainer.{name}": value
            for name, value in self.pretrainer.state_dict().items()
            if not name.startswith("student.")
        }
        for name, parameter in self.pretrainer.named_parameters():
            for part, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{part}.{name}"] = value
        return tensors

    def _scaler(self) -> torch.amp.GradScaler | None:
        return getattr(self.fabric.strategy.precision, "scaler", None)

    def _scaler_state(self) -> dict | None:
        scaler = self._scaler()
        return None if scaler is None else scaler.state_dict()


def detached(output: PretrainOutput) -> PretrainOutput:
    """Free the graph of a batch whose gradients are taken."""
    return dataclasses.replace(
        output, frame_loss=output.frame_loss.detach(), utterance_loss=output.utterance_loss.detach()
    )


def _rest(tensors: Mapping[str, Tensor], prefix: str, pretrainer: Pretrainer) -> dict[str, Tensor]:
    """The pretrainer's whole state: saved tensors under `prefix`, and the student, which is loaded already."""
    saved = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return saved | {f"student.{name}": value for name, value in pretrainer.student.state_dict().items()}
