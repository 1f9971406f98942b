"""Probes during training, in a process of their own: training never imports `emotion2vec.probe`, and never waits.

They are there to choose by, so they score validation speakers (`--select`) and never the folds' tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.audio.decode.process import spawn
from emotion2vec.checkpoint.native import CONFIG_FILE, WEIGHTS_FILE, write_folder
from emotion2vec.lines import Lines
from emotion2vec.training.config import ProbeConfig

if TYPE_CHECKING:
    from torch import Tensor

SCORES = ("WA", "UA", "WF1", "CCC")
"""What is logged of a probe, where it has it: the metrics of classes, or that of values."""

STOP_SECONDS = 10.0
"""Time that a probe has to end when it is told to, in s."""


def probe_arguments(config: ProbeConfig) -> list[str]:
    """What the section says to probe, as options of `emotion2vec probe`."""
    single: dict[str, object] = {
        "dataset": config.dataset,
        "table": config.table,
        "emobox": config.emobox,
        "root": config.root,
    }
    single |= {"context": config.context, "folds": config.folds, "layer": config.layer, "pooling": config.pooling}
    words = [word for name, value in single.items() if value for word in (f"--{name}", str(value))]
    for name, values in (("target", config.target), ("head", config.head), ("seed", config.seed)):
        words += [word for value in values for word in (f"--{name}", str(value))]
    return words if config.standardize else [*words, "--no-standardize"]


class Prober:
    """Runs `emotion2vec probe` on the model of an update, one at a time, and appends scores to `probes.jsonl`.

    Attributes:
        update: whose probe runs, None when none does.
        command: what is run, without its options.
        chosen_by: keys of the clips whose labels the probes have scored (`utterance_key`).
    """

    def __init__(self, config: ProbeConfig, file: Path, say: Callable[[str], None]):
        self.config = config
        self.file = file
        self.update: int | None = None
        self.chosen_by: list[int] = []
        self.command = [sys.executable, "-m", "emotion2vec", "probe"]
        self._folder = file.parent / "probes"
        self._process: subprocess.Popen[bytes] | None = None
        self._say = say

    def due(self, update: int) -> bool:
        """Whether a probe of this update should start."""
        return bool(self.config.every) and update % self.config.every == 0

    def start(self, update: int, described: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Start a probe of a model, by what `model.json` says of it and its weights, on the CPU, at low priority."""
        if self._process is not None:
            self._say(f"no probe of update {update}: the one of update {self.update} is not done")
            return
        folder = self._folder / f"update_{update:08d}"
        try:
            write_folder(folder, {WEIGHTS_FILE: weights}, {CONFIG_FILE: described})
            log = (self._folder / "log.txt").open("ab")
        except OSError as error:
            self._say(f"no probe of update {update}: its model could not be written: {error}")
            return
        scores = folder.with_suffix(".json")
        command = [*self.command, *probe_arguments(self.config)]
        command += ["--model", str(folder), "--device", "cpu", "--output", str(scores), "--select"]
        with log:
            self._process = spawn(
                ["nice", *command] if shutil.which("nice") else command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": str(self.config.threads)},
                start_new_session=True,  # Ctrl-C is for the training
            )
        self.update = update

    def poll(self, *, wait: bool = False) -> tuple[int, dict[str, float]] | None:
        """The scores of a probe that has finished since, with its update; `wait` waits for one."""
        if self._process is None or self.update is None or (not wait and self._process.poll() is None):
            return None
        update, code, model = self.update, self._process.wait(), self._folder / f"update_{self.update:08d}"
        self._process = self.update = None
        try:
            document = json.loads(model.with_suffix(".json").read_text(encoding="utf-8"))
            scores = {name: float(document["mean"][name]) for name in SCORES if name in document["mean"]}
            self.chosen_by = document.get("selection", {}).get("keys", [])
            with closing(Lines(self.file)) as lines:
                lines.add(json.dumps({"update": update} | scores) + "\n")
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._say(
                f"the probe of update {update} failed (exit code {code}, {error}); see {self._folder / 'log.txt'}"
            )
            return None
        finally:
            shutil.rmtree(model, ignore_errors=True)
        self._say(f"probe of update {update}: " + "  ".join(f"{name} {value:.1f}" for name, value in scores.items()))
        return update, scores

    def stop(self) -> None:
        """End a probe that still runs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = self.update = None
