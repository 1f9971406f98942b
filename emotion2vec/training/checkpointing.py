"""A run's state to disk and back: gathered from its parts on all processes, and given back to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from emotion2vec.checkpoint.heard import Heard, utterance_key
from emotion2vec.data.micro_batch import MicroBatch
from emotion2vec.data.order import Position
from emotion2vec.training.guards import SpikeGuard
from emotion2vec.training.objective import Objective
from emotion2vec.training.optimizer import Optimization
from emotion2vec.training.probing import Prober
from emotion2vec.training.ranks import Ranks
from emotion2vec.training.run_folder import RunFolder, TrainingState
from emotion2vec.training.saver import Saver
from emotion2vec.training.state import model_tensors, restore, training_tensors


class Checkpointing:
    """Saves a run and takes it up again.

    Args:
        folder: the run folder, prepared.
        ranks: the processes of the run.
        objective: what the run learns.
        optimization: its optimizer.
        guard: its guard against spikes.
        heard: what the model knows before the first update; None where that cannot be told.
    """

    def __init__(
        self,
        folder: RunFolder,
        ranks: Ranks,
        objective: Objective,
        optimization: Optimization,
        guard: SpikeGuard,
        heard: Heard | None,
    ):
        self.folder = folder
        self.ranks = ranks
        self.objective = objective
        self.optimization = optimization
        self.guard = guard
        self.heard = heard
        self._newly_heard: set[int] = set()
        self._newly_labelled: set[int] = set()
        self._saved: int | None = None

    def note(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Remember whose audio this process has trained on, and whose labels."""
        if self.heard is not None:
            for batch in micro_batches:
                for source, name, seconds in zip(batch.sources, batch.ids, batch.durations, strict=True):
                    key = utterance_key(name, seconds)
                    self._newly_heard.add(key)
                    if self.objective.learns_label(source, name):
                        self._newly_labelled.add(key)

    def save(self, update: int, position: Position, saver: Saver, prober: Prober, *, last: bool = False) -> None:
        """Write a checkpoint of the state after an update, unless it is there already; all processes call this.

        Args:
            update: the last one done.
            position: where this process goes on in the data.
            saver: writes it.
            prober: says whose probe runs, whose checkpoint stays, and whose labels have chosen.
            last: wait for it, and try again what could not be written.
        """
        if self._saved == update and not (last and any(self.ranks.sum([saver.failed()]))):
            return
        values = {
            "update": update,
            "positions": self.ranks.gather(dataclasses.asdict(position)),
            "scaler": self.optimization.scaler_state(),
            "spikes": self.guard.state(),
        }
        keep = self.ranks.is_main
        self.heard = self._all_heard(prober)
        weights = model_tensors(self.objective, keep=keep)
        tensors = training_tensors(self.objective, self.optimization.optimizer, keep=keep)
        if keep:
            state = TrainingState(values, weights, tensors, self.heard, self.objective.description())
            probed = () if prober.update is None else (prober.update,)
            saver.save(lambda: self.folder.save(state, probed), last=last)
        self._saved = update

    def _all_heard(self, prober: Prober) -> Heard | None:
        """What all processes have trained on, and whose labels choose among the checkpoints."""
        heard = self.heard
        for audio, labels in self.ranks.gather((self._newly_heard, self._newly_labelled)):
            heard = None if heard is None else heard.with_more(audio, labels)
        self._newly_heard.clear()
        self._newly_labelled.clear()
        if heard is not None and self.folder.config.checkpoint.keep_best == "probe":
            heard = heard.with_more(labels=prober.chosen_by)
        return heard

    def resume(self) -> tuple[int, Position]:
        """Take up the newest checkpoint of the run folder: its update, and where this process goes on in the data.

        Raises:
            CheckpointError: it cannot be read.
        """
        name = self.ranks.main_only(self.folder.newest)
        if name is None:
            return 0, Position()
        state = self.folder.load(name)
        restore(self.objective, self.optimization.optimizer, state.weights, state.tensors, str(self.folder.path / name))
        self.heard = state.heard
        self.guard.load(state.values["spikes"])
        self.optimization.load_scaler(state.values["scaler"])
        self._saved = state.values["update"]
        positions = [Position(**position) for position in state.values["positions"]]
        return state.values["update"], resumed_position(positions, self.ranks.rank, self.ranks.size)


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
