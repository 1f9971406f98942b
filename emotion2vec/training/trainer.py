"""The training loop: fetch, forward and backward, update, log, save. It knows no objective; see `Objective`."""

from __future__ import annotations

import signal
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.heard import Heard
from emotion2vec.data.augment import build_augmenter
from emotion2vec.data.batches import batches
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position, Stream
from emotion2vec.errors import Emotion2vecError
from emotion2vec.progress import ProgressCallback
from emotion2vec.seeding import keyed_seed
from emotion2vec.stopping import Interrupts
from emotion2vec.training.checkpointing import Checkpointing
from emotion2vec.training.checks import batches_per_device
from emotion2vec.training.config import TrainingConfig
from emotion2vec.training.guards import SpikeGuard
from emotion2vec.training.instruments import Instruments
from emotion2vec.training.metrics import UpdateSize, detached, reduced, to_host
from emotion2vec.training.monitor import Monitor
from emotion2vec.training.objective import Objective, on_device, total_size
from emotion2vec.training.optimizer import Optimization
from emotion2vec.training.patience import Patience
from emotion2vec.training.probing import Prober
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run_folder import RunFolder
from emotion2vec.training.saver import Saver
from emotion2vec.training.speech import Speech
from emotion2vec.training.state import model_tensors
from emotion2vec.training.validation import HeldOut

if TYPE_CHECKING:
    from lightning.fabric import Fabric


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
    """Trains an objective on speech and keeps everything that a restart needs in the run folder.

    Args:
        config: the run's configuration.
        fabric: devices, launched.
        ranks: the processes of the run.
        objective: what is learnt.
        speech: what to train on.
        folder: the run folder, prepared.
        validation: held-out speech, or None.
        heard: what the model knows before the first update; None where that cannot be told.
    """

    def __init__(
        self,
        config: TrainingConfig,
        fabric: Fabric,
        ranks: Ranks,
        objective: Objective,
        speech: Speech,
        folder: RunFolder,
        validation: HeldOut | None = None,
        heard: Heard | None = None,
    ):
        self.config = config
        self.fabric = fabric
        self.ranks = ranks
        self.objective = objective
        self.speech = speech
        self.folder = folder
        self.validation = validation
        self.accumulate = batches_per_device(config, ranks.size)
        self.guard = SpikeGuard(config.guard)
        self.optimization = Optimization(config, fabric, objective)
        self.checkpointing = Checkpointing(folder, ranks, objective, self.optimization, self.guard, heard)
        self.instruments = Instruments(fabric)
        self.last = speech.last or config.optim.max_updates
        self.update, self.position = 0, Position()

    def fit(self, on_progress: ProgressCallback | None = None) -> FitResult:
        """Train from where the run folder stands to the last update, a validation too many, or SIGINT or SIGTERM.

        Raises:
            TrainingError: a loss or gradient is not finite, the objective makes no sense any more, or the data is gone.
            CheckpointError: the checkpoint to resume from cannot be read, or the last one not be written.
        """
        self.update, self.position = self.checkpointing.resume()
        self.ranks.main_only(lambda: self.folder.tidy(self.update))
        scores = self.ranks.main_only(self.folder.validation_scores)
        self.patience = Patience.after(self.config.validation.patience, scores.values())
        with (
            Interrupts() as interrupts,
            self._monitor(on_progress) as monitor,
            Saver(background=self.config.checkpoint.background, say=monitor.say) as saver,
        ):
            prober = Prober(self.config.probe, self.folder.probes_file, monitor.say)
            data = self._batches(interrupts)
            if self.update:
                monitor.say(f"resumed after update {self.update} from {self.folder.path}")
            try:
                stopped = None
                while not self._is_done and not (stopped := self._signal(interrupts, monitor)):
                    self._run_update(data, monitor, saver, prober)
                self._save(saver, prober, last=True)
                if self._is_done:
                    self._log_probe(prober, wait=True)
                    stopped = None
                    monitor.end(self.update, str(self.patience))
            finally:
                data.close()
                prober.stop()
        self.fabric.barrier()  # no process leaves before the last checkpoint is complete
        if monitor.raised is not None:
            raise monitor.raised
        return FitResult(self.update, stopped, self.ranks.is_main)

    @property
    def _is_done(self) -> bool:
        return self.update >= self.last or self.patience.is_over

    def _monitor(self, on_progress: ProgressCallback | None) -> Monitor:
        return Monitor(
            self.folder.metrics_file,
            self.config.log,
            first=self.update + 1,
            last=self.last,
            is_main=self.ranks.is_main,
            verb=self.objective.name,
            shown=self.objective.shown,
            on_progress=on_progress,
        )

    def _signal(self, interrupts: Interrupts, monitor: Monitor) -> int | None:
        """The signal that any process caught, the same on all of them; what a callback raises is like SIGINT."""
        stops = interrupts.caught == signal.SIGINT or monitor.raised is not None
        terminated, interrupted = self.ranks.sum([interrupts.caught == signal.SIGTERM, stops])
        return int(signal.SIGTERM) if terminated else int(signal.SIGINT) if interrupted else None

    def _batches(self, interrupts: Interrupts) -> Generator[MicroBatch, None, None]:
        data, ranks, seed = self.config.data, self.ranks, self.config.run.seed
        return batches(
            self.speech.corpus.sources,
            data,
            Stream(
                seed=seed,
                accumulate=self.accumulate,
                rank=ranks.rank,
                world_size=ranks.size,
                normalize=self.objective.model.config.normalizes,
                crop_step=self.objective.crop_step,
                clean=self.objective.clean,
                pad=self.speech.pad,
            ),
            augmenter=build_augmenter(self.config.augment, max_bad_share=data.max_bad_share, workers=data.workers),
            start=self.position,
            stopping=lambda: interrupts.caught is not None,
            order=self.speech.order,
        )

    def _run_update(
        self, data: Generator[MicroBatch, None, None], monitor: Monitor, saver: Saver, prober: Prober
    ) -> None:
        update, started = self.update + 1, time.perf_counter()
        micro_batches, size = self._fetch(data, saver, prober)
        waited = time.perf_counter() - started
        monitor.skip([fault for batch in micro_batches for fault in batch.skipped])

        if update == 1:
            self.objective.begin(micro_batches, self.fabric, self.ranks)
        outputs = self._forward_backward(update, micro_batches, size)
        sums = reduced(self.objective.sums(outputs), self.ranks.add_up)
        metrics = self._metrics(sums, size)
        self.objective.check(update, metrics)
        metrics |= self._step(update, metrics, sums, [name for batch in micro_batches for name in batch.ids])

        self.update, self.position = update, micro_batches[-1].position
        self.checkpointing.note(micro_batches)
        due = update % self.config.log.every == 0 or update in (1, self.last)
        validated = self._validate(update)
        self.patience.note(validated)
        if due or validated:
            metrics |= validated | self.objective.observe(outputs[-1])
            flops = sum(self.objective.flops(batch) for batch in micro_batches)
            metrics |= self.instruments.speed(size.seconds, flops, time.perf_counter() - started, waited)
            monitor.log(update, metrics)
            self.fabric.log_dict(metrics, step=update)
        monitor.advance(update, size.seconds)
        self._log_probe(prober)
        if prober.due(update):
            self._probe(prober)
        if update % self.config.checkpoint.every == 0 and update < self.last:
            self._save(saver, prober)

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
        size, failed = total_size(self.objective, micro_batches, self.ranks, error is not None)
        if failed:
            self._save(saver, prober, last=True)
            self.ranks.raise_together(error)
        return micro_batches, size

    def _forward_backward(self, update: int, micro_batches: Sequence[MicroBatch], size: UpdateSize) -> list[Any]:
        """Accumulate the gradients of one update; losses are means over what all processes hold."""
        outputs: list[Any] = []
        ahead = partial(self._without_gradients, update, micro_batches)
        self.objective.look_ahead(ahead, len(micro_batches), self.ranks)
        for number, batch in enumerate(micro_batches):
            inputs = self.objective.inputs(batch, update, number)
            self._seed(update, number)
            with self.fabric.no_backward_sync(self.optimization.network, enabled=number + 1 < len(micro_batches)):
                output = self.optimization.network(*on_device(inputs, self.fabric.device))
                # The engine averages gradients over processes, and the losses are divided by what all of them hold.
                self.fabric.backward(self.objective.loss(output, size.counts) * self.ranks.size)
            outputs.append(detached(output))
        return outputs

    @torch.no_grad()
    def _without_gradients(self, update: int, micro_batches: Sequence[MicroBatch]) -> list[Any]:
        """The same outputs, for a loss that compares them."""
        outputs = []
        for number, batch in enumerate(micro_batches):
            inputs = self.objective.inputs(batch, update, number)
            self._seed(update, number)
            outputs.append(self.optimization.network(*on_device(inputs, self.fabric.device)))
        return outputs

    def _seed(self, update: int, number: int) -> None:
        """Key dropout and mask noise by update and batch, so that a resumed run draws what it would have drawn."""
        torch.manual_seed(keyed_seed(self.config.run.seed, "dropout", update, number, self.ranks.rank))

    def _metrics(self, sums: Any, size: UpdateSize) -> dict[str, float]:
        """Numbers of an update before the optimizer moves, and the norm of its gradients."""
        metrics: dict[str, Tensor | float] = self.objective.metrics(sums, size.counts)
        metrics |= {"kept_share": size.seconds / size.offered, "grad_norm": self.optimization.gradient_norm()}
        return to_host(metrics)

    def _step(self, update: int, metrics: dict[str, float], sums: Any, ids: Sequence[str]) -> dict[str, float]:
        """Move the parameters and what follows them, unless the update is a spike and left out."""
        changed: dict[str, float] = {}
        if self.optimization.overflowed(metrics["grad_norm"]):
            self.optimization.leave_out()
            changed = {"grad_norm": 0.0}
        elif not self.guard.passes(update, metrics, ids):
            self.optimization.leave_out()
        else:
            self.optimization.step(update)
            self.objective.after_step(update, sums)
        return self.optimization.facts(update) | {"spikes": self.guard.spikes} | changed

    def _validate(self, update: int) -> dict[str, float]:
        judge = self.validation
        return judge.losses(self.optimization.network, self.fabric) if judge and judge.due(update) else {}

    def _probe(self, prober: Prober) -> None:
        weights = model_tensors(self.objective, keep=self.ranks.is_main)
        if self.ranks.is_main:
            prober.start(self.update, self.objective.description(), weights)

    def _log_probe(self, prober: Prober, *, wait: bool = False) -> None:
        """Log the scores of a probe that has finished since, under the update that it probed."""
        if (found := prober.poll(wait=wait)) is not None:
            probed, scores = found
            if self.config.checkpoint.keep_best == "probe":  # that checkpoint was written before its probe chose
                self.folder.note_labels(probed, prober.chosen_by)
            self.fabric.log_dict({f"probe_{name}": value for name, value in scores.items()}, step=probed)

    def _save(self, saver: Saver, prober: Prober, *, last: bool = False) -> None:
        self.checkpointing.save(self.update, self.position, saver, prober, last=last)
