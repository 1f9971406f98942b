"""The training loop: fetch, forward and backward, update with EMA, log, save.

B: utterances. M: views. S: samples. T: frames. D: model width.
"""

from __future__ import annotations

import dataclasses
import random
import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emotion2vec.audio.frames import frame_count
from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.data.augment import build_augmenter
from emotion2vec.data.batches import MicroBatch, Position, batches
from emotion2vec.data.sources import Source
from emotion2vec.devices import to_device
from emotion2vec.errors import Emotion2vecError
from emotion2vec.pretrain.config import PretrainConfig, batches_per_device
from emotion2vec.pretrain.masking import batch_masks, masked_frames
from emotion2vec.pretrain.objective import Moments, Pretrainer, PretrainOutput
from emotion2vec.seeding import keyed_seed
from emotion2vec.training.guards import SpikeGuard, check_collapse
from emotion2vec.training.instruments import Instruments
from emotion2vec.training.interrupts import Interrupts
from emotion2vec.training.metrics import UpdateSize, UpdateSums, UtteranceCovariance, to_host
from emotion2vec.training.monitor import Monitor
from emotion2vec.training.optimizer import Optimization
from emotion2vec.training.probing import Prober
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run_folder import RunFolder, TrainingState
from emotion2vec.training.saver import Saver
from emotion2vec.training.state import forward_method, restore, student_tensors, training_tensors

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from emotion2vec.pretrain.validation import Validation


@dataclass(frozen=True)
class FitResult:
    """How a run ended: after which update, by which signal if interrupted, and whether this is the main process.

    `missing` counts what lists named and what was not there.
    """

    update: int
    signal: int | None
    is_main: bool = True
    missing: int = 0


class Trainer:
    """Trains a `Pretrainer` on sources of audio and keeps everything that a restart needs in the run folder.

    Args:
        config: the run's configuration.
        fabric: devices, launched.
        ranks: the processes of the run.
        pretrainer: student, teacher and decoder.
        sources: what to train on.
        folder: the run folder, prepared.
        validation: held-out speech, or None.
        heard: what the student knows before the first update; None where that cannot be told.
    """

    def __init__(
        self,
        config: PretrainConfig,
        fabric: Fabric,
        ranks: Ranks,
        pretrainer: Pretrainer,
        sources: Sequence[Source],
        folder: RunFolder,
        validation: Validation | None = None,
        heard: Heard | None = None,
    ):
        self.config = config
        self.fabric = fabric
        self.ranks = ranks
        self.pretrainer = pretrainer
        self.sources = sources
        self.folder = folder
        self.validation = validation
        self.accumulate = batches_per_device(config, ranks.size)
        self.update = 0
        self.saved: int | None = None
        self.position = Position()
        self.heard = heard
        self._newly_heard: set[int] = set()
        self.guard = SpikeGuard(config.guard)
        self.optimization = Optimization(config, fabric, pretrainer)
        self.covariance = UtteranceCovariance(config.model.width, fabric.device)
        self.instruments = Instruments(config, fabric)

    def fit(self) -> FitResult:
        """Train from where the run folder stands to `optim.max_updates`, or until SIGINT or SIGTERM.

        Raises:
            TrainingError: a loss or gradient is not finite, the representation has collapsed, or the data is gone.
            CheckpointError: the checkpoint to resume from cannot be read, or the last one not be written.
        """
        self._resume()
        last, first = self.config.optim.max_updates, self.update + 1
        self.ranks.main_only(lambda: self.folder.tidy(self.update))
        with (
            Interrupts() as interrupts,
            Monitor(
                self.folder.metrics_file, self.config.log, first=first, last=last, is_main=self.ranks.is_main
            ) as monitor,
            Saver(background=self.config.checkpoint.background, say=monitor.say) as saver,
        ):
            prober = Prober(self.config, self.folder.probes_file, monitor.say)
            data = self._batches(interrupts)
            if self.update:
                monitor.say(f"resumed after update {self.update} from {self.folder.path}")
            try:
                while self.update < last and not (stopped := self._signal(interrupts)):
                    self._run_update(data, monitor, saver, prober)
                self._save(saver, prober, last=True)
                if self.update == last:
                    self._log_probe(monitor, prober, wait=True)
                    stopped = None
            finally:
                data.close()
                prober.stop()
        self.fabric.barrier()  # no process leaves before the last checkpoint is complete
        return FitResult(self.update, stopped, self.ranks.is_main)

    def _signal(self, interrupts: Interrupts) -> int | None:
        """The signal that any process caught, the same answer on all of them; SIGTERM before SIGINT."""
        noted = [interrupts.caught == number for number in (signal.SIGTERM, signal.SIGINT)]
        terminated, interrupted = self.ranks.sum(noted)
        return int(signal.SIGTERM) if terminated else int(signal.SIGINT) if interrupted else None

    def _batches(self, interrupts: Interrupts) -> Generator[MicroBatch, None, None]:
        data = self.config.data
        return batches(
            self.sources,
            max_seconds=data.batch_seconds,
            max_samples=data.max_samples,
            buckets=data.buckets,
            seed=self.config.run.seed,
            accumulate=self.accumulate,
            min_samples=data.min_samples,
            length_step=data.length_step,
            window=data.window,
            augmenter=build_augmenter(self.config.augment, max_bad_share=data.max_bad_share, workers=data.workers),
            start=self.position,
            workers=data.workers,
            cache=data.cache,
            patience=data.patience,
            stopping=lambda: interrupts.caught is not None,
            rank=self.ranks.rank,
            world_size=self.ranks.size,
        )

    def _run_update(
        self, data: Generator[MicroBatch, None, None], monitor: Monitor, saver: Saver, prober: Prober
    ) -> None:
        update, started = self.update + 1, time.perf_counter()
        micro_batches, size = self._fetch(data, saver, prober)
        waited = time.perf_counter() - started
        for fault in [fault for batch in micro_batches for fault in batch.skipped]:
            monitor.say(f"skipped: {fault}")

        if update == 1:
            self._prime_utterance_target(micro_batches)
        outputs = self._forward_backward(update, micro_batches, size)
        sums = UpdateSums.of(outputs).reduced(self.ranks.add_up)
        norm = self.optimization.gradient_norm()
        metrics = to_host(sums.metrics(size, self.config.loss) | {"grad_norm": norm} | self._utterance_target_std())
        check_collapse(update, metrics, self.config.guard)
        metrics |= self._step(update, metrics, sums, [name for batch in micro_batches for name in batch.ids])

        self.update, self.position = update, micro_batches[-1].position
        self._keep_heard(micro_batches)
        due = update % self.config.log.every == 0 or update in (1, self.config.optim.max_updates)
        metrics |= self._validate(update)
        if due or "validation_loss" in metrics:
            metrics |= to_host(self._utterance_target_std())
            metrics |= self.instruments.features(outputs[-1].cnn, self.covariance)
            metrics |= self.instruments.speed(size, micro_batches, time.perf_counter() - started, waited)
            monitor.log(update, metrics)
            self.fabric.log_dict(metrics, step=update)
        monitor.advance(update, size.seconds)
        self._log_probe(monitor, prober)
        if prober.due(update):
            self._probe(prober)
        if update % self.config.checkpoint.every == 0 and update < self.config.optim.max_updates:
            self._save(saver, prober)

    def _keep_heard(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Note whose audio this process has trained on."""
        if self.heard is not None:
            pairs = [pair for batch in micro_batches for pair in zip(batch.ids, batch.durations, strict=True)]
            self._newly_heard.update(utterance_key(name, seconds) for name, seconds in pairs)

    def _fetch(
        self, data: Generator[MicroBatch, None, None], saver: Saver, prober: Prober
    ) -> tuple[list[MicroBatch], UpdateSize]:
        """Take this process's batches of one update, and learn what the update holds over all processes.

        Raises:
            Emotion2vecError: there is no more data, for this process or another; the state before is saved.
        """
        error: Emotion2vecError | None = None
        micro_batches: list[MicroBatch] = []
        try:
            micro_batches = list(islice(data, self.accumulate))
        except Emotion2vecError as raised:
            error = raised
        rows = [len(batch.ids) * self.config.mask.views for batch in micro_batches]
        frames = [self._frames(batch) for batch in micro_batches]
        masked = [masked_frames(length, self.config.mask.prob) for length in frames]
        *sizes, failed = self.ranks.sum(
            [
                sum(count * length for count, length in zip(rows, masked, strict=True)),
                sum(rows),
                sum(count * length for count, length in zip(rows, frames, strict=True)),
                sum(batch.seconds for batch in micro_batches),
                sum(batch.offered for batch in micro_batches),
                error is not None,
            ]
        )
        if failed:
            self._save(saver, prober, last=True)
            self.ranks.raise_together(error)
        return micro_batches, UpdateSize(*sizes)

    def _forward_backward(
        self, update: int, micro_batches: Sequence[MicroBatch], size: UpdateSize
    ) -> list[PretrainOutput]:
        """Accumulate the gradients of one update; losses are means over masked frames and views of all processes."""
        outputs = []
        for number, batch in enumerate(micro_batches):
            mask = batch_masks(
                batch.keys, self._frames(batch), self.config.mask, seed=self.config.run.seed, update=update
            )
            self._seed(update, number)
            with self.fabric.no_backward_sync(self.optimization.module, enabled=number + 1 < len(micro_batches)):
                output = self.optimization.module(
                    to_device(batch.waveforms, self.fabric.device),
                    to_device(mask, self.fabric.device),
                    self._skipped_blocks(update, number),
                )
                loss = output.frame_loss / size.masked
                if self.config.loss.utterance != "none":
                    loss = loss + self.config.loss.alpha * output.utterance_loss / size.views
                # The engine averages gradients over processes, and the losses are divided by what all of them hold.
                self.fabric.backward(loss * self.ranks.size)
            outputs.append(detached(output))
        return outputs

    def _frames(self, batch: MicroBatch) -> int:
        return frame_count(batch.waveforms.shape[1], self.config.model.kernels, self.config.model.strides)

    def _seed(self, update: int, number: int) -> None:
        """Key dropout and mask noise by update and batch, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(keyed_seed(self.config.run.seed, "dropout", update, number, self.ranks.rank))

    def _skipped_blocks(self, update: int, number: int) -> frozenset[int]:
        """Blocks that layerdrop leaves out of one batch, the same on every rank."""
        rng = random.Random(keyed_seed(self.config.run.seed, "layerdrop", update, number))
        model = self.config.model
        return frozenset(i for i in range(model.prenet_depth + model.depth) if rng.random() < model.layerdrop)

    def _step(self, update: int, metrics: dict[str, float], sums: UpdateSums, ids: Sequence[str]) -> dict[str, float]:
        """Move student, teacher and running statistics, unless the update is a spike and left out."""
        if self.optimization.overflowed(metrics["grad_norm"]):
            self.optimization.leave_out()
            return self.optimization.facts(update) | {"spikes": self.guard.spikes, "grad_norm": 0.0}
        if not self.guard.passes(update, metrics, ids):
            self.optimization.leave_out()
            return self.optimization.facts(update) | {"spikes": self.guard.spikes}
        self.optimization.step(update)
        if update > 1:  # those of the first were taken in before it
            self._update_utterance_target(sums.utterances)
        self.covariance.update(sums)
        return self.optimization.facts(update) | {"spikes": self.guard.spikes}

    def _prime_utterance_target(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Measure the utterance target's statistics before the first update, on its utterances, whoever has them."""
        if self.config.loss.utterance == "none":
            return
        forward_method(self.pretrainer, "pooled")
        with self.fabric.autocast():
            pooled = torch.cat([self.pretrainer.pooled(b.waveforms.to(self.fabric.device)) for b in micro_batches])
        found = Moments.of(pooled)  # of (U, D)
        parts = [found.count.reshape(1), found.total, found.square]
        count, total, square = self.ranks.add_up(torch.cat(parts)).split([len(part) for part in parts])
        self._update_utterance_target(Moments(count.reshape(()), total, square))

    def _update_utterance_target(self, pooled: Moments) -> None:
        self.pretrainer.utterance_target.update(pooled.total / pooled.count, pooled.square / pooled.count, pooled.count)

    def _utterance_target_std(self) -> dict[str, Tensor | float]:
        if self.config.loss.utterance == "none":
            return {}
        return {"utterance_target_std": self.pretrainer.utterance_target.std().mean()}

    def _validate(self, update: int) -> dict[str, float]:
        if self.validation is None or update % self.config.validation.every:
            return {}
        return self.validation.losses(self.optimization.module, self.fabric)

    def _probe(self, prober: Prober) -> None:
        weights = student_tensors(self.pretrainer, keep=self.ranks.is_main)
        if self.ranks.is_main:
            prober.start(self.update, weights)

    def _log_probe(self, monitor: Monitor, prober: Prober, *, wait: bool = False) -> None:
        found = prober.poll(wait=wait)
        if found is not None:
            probed, scores = found
            if self.config.checkpoint.keep_best == "probe":  # that checkpoint was written before its probe chose
                self.folder.note_labels(probed, prober.chosen_by)
            self.fabric.log_dict({f"probe_{name}": value for name, value in scores.items()}, step=self.update)

    def _save(self, saver: Saver, prober: Prober, *, last: bool = False) -> None:
        """Write a checkpoint of the state after the current update, unless it is there already."""
        if self.saved == self.update and not (last and any(self.ranks.sum([saver.failed()]))):
            return
        values = {
            "update": self.update,
            "positions": self.ranks.gather(dataclasses.asdict(self.position)),
            "scaler": self.optimization.scaler_state(),
            "spikes": self.guard.state(),
        }
        keep = self.ranks.is_main
        self.heard = self._all_heard(prober)
        weights = student_tensors(self.pretrainer, keep=keep)
        tensors = training_tensors(self.pretrainer, self.optimization.optimizer, self.covariance.state(), keep=keep)
        if keep:
            state = TrainingState(values, weights, tensors, self.heard)
            probed = () if prober.update is None else (prober.update,)
            saver.save(lambda: self.folder.save(state, probed), last=last)
        self.saved = self.update

    def _all_heard(self, prober: Prober) -> Heard | None:
        """What all processes have trained on, and whose labels choose among the checkpoints."""
        heard = self.heard
        for more in self.ranks.gather(self._newly_heard):
            heard = None if heard is None else heard.with_more(audio=more)
        self._newly_heard.clear()
        if heard is not None and self.config.checkpoint.keep_best == "probe":
            heard = heard.with_more(labels=prober.chosen_by)
        return heard

    def _resume(self) -> None:
        """Take up the newest checkpoint of the run folder, if there is one."""
        name = self.ranks.main_only(self.folder.newest)
        if name is None:
            return
        state = self.folder.load(name)
        extra = restore(
            self.pretrainer, self.optimization.optimizer, state.weights, state.tensors, str(self.folder.path / name)
        )
        self.covariance.load(extra)
        self.heard = state.heard
        self.guard.load(state.values["spikes"])
        self.optimization.load_scaler(state.values["scaler"])
        self.update = self.saved = state.values["update"]
        self.position = resumed_position(
            [Position(**position) for position in state.values["positions"]], self.ranks.rank, self.ranks.size
        )


def resumed_position(saved: Sequence[Position], rank: int, size: int) -> Position:
    """Where a process goes on in the data.

    With as many processes as before each has its own position. With more or fewer, all share the window's rest: what
    was read of it stays read, up to one batch for each process.
    """
    if len(saved) == size:
        return saved[rank]
    epoch, window = min((position.epoch, position.window) for position in saved)
    read = sum(position.batch for position in saved if (position.epoch, position.window) == (epoch, window))
    return Position(epoch, read // size, max(position.index for position in saved), window)


def detached(output: PretrainOutput) -> PretrainOutput:
    """Free the graph of a batch whose gradients are taken."""
    return dataclasses.replace(
        output, frame_loss=output.frame_loss.detach(), utterance_loss=output.utterance_loss.detach()
    )
