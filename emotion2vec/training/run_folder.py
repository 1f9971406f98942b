"""The folder of a run: resolved config, versions, metrics and checkpoints."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.checkpoint.heard import HEARD_FILE, Heard, read_heard
from emotion2vec.checkpoint.native import (
    CONFIG_FILE,
    STATE_FILE,
    TRAINING_WEIGHTS_FILE,
    VERSIONS_FILE,
    WEIGHTS_FILE,
    checkpoints,
    heard_tensors,
    newest_checkpoint,
    read_state,
    read_tensors,
    write_folder,
)
from emotion2vec.errors import CheckpointError, ConfigError, StorageError
from emotion2vec.files import check_folder_name, clear, complete_file, write_text
from emotion2vec.locks import LOCK, only_writer
from emotion2vec.settings import to_dict, to_yaml
from emotion2vec.training.config import TrainingConfig, load
from emotion2vec.training.extending import EXTENDED, extension
from emotion2vec.training.lines import read_lines
from emotion2vec.training.patience import validation_score
from emotion2vec.version import TRAINED_WITH, git_commit, versions

if TYPE_CHECKING:
    from torch import Tensor

    from emotion2vec.training.computing import Computing

CHECKPOINTS = "checkpoints"
COMPUTING = "computing.json"
METRICS = "metrics.jsonl"
MAIN_SCORES = ("UA", "CCC")
"""What probes choose checkpoints by, of classes or of values."""
PROBES = "probes.jsonl"
# Settings that may differ between a run and its continuation, because they do not change what is computed.
_FREE_SECTIONS = ("log", "checkpoint", "guard", "validation", "probe", "evaluate")
_FIXED_KEYS = ("validation.refit",)  # of these sections, since it decides what learns
_FREE_KEYS = (
    "run.dir",
    "run.devices",
    "run.nodes",
    "run.strategy",
    "run.checkpoint_activations",
    "run.compile",
    "run.extend",
    "data.workers",
    "data.cache",
    "data.max_bad_share",
    "data.patience",
    "data.licence",
)


@dataclass
class TrainingState:
    """What a run needs to go on, beside the model's own weights.

    Attributes:
        values: numbers and short lists, such as the update and the position in the data.
        weights: the model's weights, as in `model.safetensors`.
        tensors: everything else: what stands beside the model, optimizer moments, running statistics.
        heard: which utterances the run has heard; None where that cannot be told.
        description: what `model.json` says of the model; a checkpoint that is read leaves it empty.
    """

    values: dict[str, Any]
    weights: Mapping[str, Tensor]
    tensors: Mapping[str, Tensor]
    heard: Heard | None = None
    description: Mapping[str, Any] = field(default_factory=dict)


class RunFolder:
    """One run's folder; opening it checks that the run there, if any, is the same one."""

    def __init__(self, config: TrainingConfig):
        self.path = Path(config.run.dir)
        self.config = config
        self.config_file = self.path / "config.yaml"
        self.metrics_file = self.path / METRICS
        self.probes_file = self.path / PROBES

    def prepare(self, computing: Computing, stack: ExitStack) -> list[str]:
        """Create the folder and write `config.yaml`, `versions.json` and `computing.json`, before the first update.

        Args:
            computing: what the run computes with.
            stack: keeps other processes from writing there until it is closed.

        Returns:
            What a user should know about what is there.

        Raises:
            ConfigError: a run with other settings is there, another process is writing it, or the path is a file or
                called like one.
            StorageError: the disk does not take the files; those that were there stay as they were.
        """
        check_folder_name(self.path, "run.dir", "a run")
        with self._writing():
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise ConfigError(f"run.dir is {self.path}, which is a file, expected a folder") from error
        stack.enter_context(only_writer(self.path / LOCK, self.path))
        clear(self.path / CHECKPOINTS)
        notes = self.same_run_notes() if newest_checkpoint(self.path) is not None else []
        with self._writing():
            write_text(self.config_file, to_yaml(self.config))
            found = versions(*TRAINED_WITH) | {"git_commit": git_commit()}
            write_text(self.path / VERSIONS_FILE, json.dumps(found, indent=2) + "\n")
            return [*notes, *self._note_computing(computing)]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Name the run folder when the disk does not take a file; files are written whole or not at all."""
        try:
            yield
        except OSError as error:
            raise StorageError(f"run.dir {self.path}: cannot be written: {error}; what was there is intact") from error

    def _note_computing(self, computing: Computing) -> list[str]:
        """Keep what a run computes with; a note where that is something else than before."""
        file, before = self.path / COMPUTING, None
        with suppress(OSError, ValueError):
            before = json.loads(file.read_text(encoding="utf-8"))
        write_text(file, json.dumps(computing.facts(), indent=2, ensure_ascii=False) + "\n")
        changes = computing.changes(before) if before and newest_checkpoint(self.path) is not None else []
        return (
            [f"computing otherwise than before, which changes the last digits: {'; '.join(changes)}"] if changes else []
        )

    def same_run_notes(self) -> list[str]:
        """Compare the settings with those of the run there (others: ConfigError); notes of what was accepted."""
        if not self.config_file.is_file():
            raise ConfigError(f"{self.path}: holds checkpoints but no config.yaml, expected another run.dir")
        before = load(type(self.config), self.config_file)
        there, here = fixed_values(before), fixed_values(self.config)
        differ = [key for key in here if there.get(key) != here[key]]
        if self.config.run.extend and differ and set(differ) <= set(EXTENDED):
            return [extension(before, self.config, self._newest_update(), differ)]
        if differ:
            advice = "; run.extend=true goes on with these" * (set(differ) <= set(EXTENDED))
            changes = "\n".join(f"  {key} is {there.get(key)!r} there and {here[key]!r} now" for key in differ)
            raise ConfigError(
                f"run.dir {self.path} holds a run with other settings; continue with its own, or use another run.dir"
                f"{advice}:\n{changes}"
            )
        return []

    def _newest_update(self) -> int:
        newest = newest_checkpoint(self.path)
        assert newest is not None
        return int(newest.name.removeprefix("update_"))

    def newest(self) -> str | None:
        """Name of the newest complete checkpoint, None when there is none."""
        found = newest_checkpoint(self.path)
        return None if found is None else found.name

    def load(self, name: str) -> TrainingState:
        """Read a complete checkpoint.

        Raises:
            CheckpointError: it cannot be read.
        """
        folder = self.path / CHECKPOINTS / name
        return TrainingState(
            values=read_state(folder),
            weights=read_tensors(folder / WEIGHTS_FILE),
            tensors=read_tensors(folder / TRAINING_WEIGHTS_FILE),
            heard=read_heard(folder),
        )

    def save(self, state: TrainingState, keep: Collection[int] = ()) -> Path:
        """Write a checkpoint, then remove those that nothing asks to keep.

        Args:
            state: what to write.
            keep: updates whose checkpoints stay, beside those of section `checkpoint`.

        Raises:
            CheckpointError: it cannot be written; those before it are untouched.
        """
        from safetensors import SafetensorError

        folder = self.path / CHECKPOINTS / f"update_{state.values['update']:08d}"
        tensors = {WEIGHTS_FILE: state.weights, TRAINING_WEIGHTS_FILE: state.tensors}
        if state.heard is not None:
            tensors[HEARD_FILE] = heard_tensors(state.heard)
        try:
            write_folder(
                folder,
                tensors,
                {CONFIG_FILE: state.description, STATE_FILE: state.values},
            )
        except (OSError, SafetensorError) as error:
            last = newest_checkpoint(self.path)
            rest = "there is none before it" if last is None else f"{last} is complete and can be continued from"
            raise CheckpointError(f"{folder}: could not be written ({error}); {rest}") from error
        with suppress(OSError):  # what stays for once goes after the next one
            self._prune(keep)
        return folder

    def note_labels(self, update: int, keys: Sequence[int]) -> None:
        """Add to the record of a checkpoint that the labels of these utterances chose it, see `Heard`.

        A checkpoint that is gone, or has no record, is left alone.
        """
        from safetensors.numpy import save

        folder = self.path / CHECKPOINTS / f"update_{update:08d}"
        heard = read_heard(folder)
        if heard is not None:
            with self._writing(), complete_file(folder / HEARD_FILE) as partial:
                partial.write_bytes(save(heard.with_more(labels=keys).tensors()))

    def _prune(self, keep: Collection[int]) -> None:
        """Remove checkpoints that are neither among the last, nor an n-th, nor the best, nor in `keep`."""
        policy, scores = self.config.checkpoint, self.scores()
        found = {int(folder.name.removeprefix("update_")): folder for folder in checkpoints(self.path)}
        kept = {*sorted(found)[-policy.keep_last :], *keep}
        kept |= {update for update in found if policy.keep_every and update % policy.keep_every == 0}
        scored = [update for update in found if update in scores]
        if scored:
            kept.add(max(scored, key=lambda update: (scores[update], update)))
        for update in found.keys() - kept:
            # First out of sight: a checkpoint that is half removed must never be taken for a complete one.
            removed = found[update].with_name(f".{found[update].name}.removed")
            found[update].replace(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def scores(self) -> dict[int, float]:
        """What `checkpoint.keep_best` goes by, higher is better, by update."""
        by = self.config.checkpoint.keep_best
        if by == "validation":
            return {update: score for update, score in self.validation_scores().items() if not math.isnan(score)}
        lines = read_lines(self.probes_file) if by == "probe" else []
        return {line["update"]: line[name] for line in lines for name in MAIN_SCORES if name in line}

    def validation_scores(self) -> dict[int, float]:
        """Scores of all validations, higher is better, by update; NaN of those that are no numbers."""
        lines = [line for line in read_lines(self.metrics_file) if "validation_loss" in line]
        return {line["update"]: validation_score(line) for line in lines}

    def tidy(self, update: int) -> None:
        """Before going on after `update`: drop what was logged since, which comes again, and half-done folders.

        Raises:
            StorageError: the disk does not take the files, which stay as they were.
        """
        for file in (self.metrics_file, self.probes_file):
            if file.is_file():
                kept = [json.dumps(line) + "\n" for line in read_lines(file) if line["update"] <= update]
                with self._writing():
                    write_text(file, "".join(kept))
        for leftover in (self.path / CHECKPOINTS).glob(".update_*"):
            shutil.rmtree(leftover, ignore_errors=True)


def fixed_values(config: TrainingConfig) -> dict[str, Any]:
    """Settings that decide what is computed, by dotted name."""
    found: dict[str, Any] = {}
    for section, values in to_dict(config).items():
        named = values.items() if isinstance(values, dict) else [("", values)]
        found |= {f"{section}.{key}".rstrip("."): value for key, value in named}
    free = {key for key in found if key.partition(".")[0] in _FREE_SECTIONS} - set(_FIXED_KEYS)
    return {key: value for key, value in found.items() if key not in free and key not in _FREE_KEYS}
