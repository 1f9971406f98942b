"""Watching a run: numbers of each update, guards that stop it, logs and the progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from emotion2vec.config import GuardConfig, LogConfig, LossConfig
from emotion2vec.errors import ConfigError, TrainingError
from emotion2vec.objective.pretrainer import PretrainOutput
from emotion2vec.objective.targets import STD_FLOOR


def update_metrics(outputs: Sequence[PretrainOutput], loss: LossConfig, frames: int) -> dict[str, float]:
    """Losses and standard deviations of one update over all its batches, as means over masked frames and views.

    Args:
        outputs: what each batch contributed.
        loss: weights and kind of the losses.
        frames: all frames in all views, masked or not.
    """
    masked, views = sum(o.masked for o in outputs), sum(o.views for o in outputs)
    targets, predictions = outputs[0].targets, outputs[0].predictions
    for output in outputs[1:]:
        targets, predictions = targets + output.targets, predictions + output.predictions
    frame_loss = float(sum(o.frame_loss.detach() for o in outputs)) / masked
    metrics = {"loss": frame_loss, "frame_loss": frame_loss}
    if loss.utterance != "none":
        metrics["utterance_loss"] = float(sum(o.utterance_loss.detach() for o in outputs)) / views
        metrics["loss"] += loss.alpha * metrics["utterance_loss"]
    width = targets.total.shape[0]
    return metrics | {
        "masked_share": masked / frames,
        "target_std": targets.std(),
        "prediction_std": predictions.std(),
        "explained_share": 1.0 - frame_loss / math.sqrt(width) / float(targets.variance().mean()),
    }


def effective_rank(features: Tensor) -> float:
    """Effective rank of features (..., C): e to the entropy of the covariance's eigenvalues (Roy and Vetterli 2007)."""
    x = features.flatten(0, -2).double()
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T)).clamp(min=0)
    share = eigenvalues / eigenvalues.sum().clamp(min=1e-30)
    return math.exp(float(torch.special.entr(share).sum()))


def check_finite(update: int, metrics: dict[str, float], ids: Sequence[str]) -> None:
    """Stop before the optimizer moves when a loss or the gradient norm is not finite.

    Raises:
        TrainingError: with the update, the values and the utterances.
    """
    bad = [f"{name} is {metrics[name]}" for name in ("loss", "grad_norm") if not math.isfinite(metrics.get(name, 0.0))]
    if bad:
        shown = ", ".join(ids[:8]) + (f" and {len(ids) - 8} more" if len(ids) > 8 else "")
        raise TrainingError(
            f"update {update}: {' and '.join(bad)}, expected finite numbers; the optimizer did not move, and the last "
            f"checkpoint is intact. Utterances of this update: {shown}. A lower optim.lr, optim.clip_norm or "
            "run.precision=fp32 may help."
        )


def check_collapse(update: int, metrics: dict[str, float], guard: GuardConfig) -> None:
    """Stop when targets or predictions have become constant.

    Raises:
        TrainingError: with the value and its limit.
    """
    if update <= guard.after_updates:
        return
    limits = {"target_std": guard.min_target_std, "prediction_std": guard.min_prediction_std}
    for name, limit in limits.items():
        if metrics[name] < limit:
            raise TrainingError(
                f"update {update}: the representation has collapsed: {name} is {metrics[name]:.4g}, expected at least "
                f"{limit:g} (guard.min_{name}). A lower optim.lr or a slower teacher (ema.decay) may help."
            )
    # The floor itself is not reached: float32 running statistics stall a little above it.
    if metrics.get("utterance_target_std", 1.0) < 5 * STD_FLOOR:
        raise TrainingError(f"update {update}: the utterance target is the same for all utterances, expected variation")


def build_loggers(config: LogConfig, run: Path) -> list[Any]:
    """Create the loggers that the configuration asks for.

    Raises:
        ConfigError: a package that one of them needs is missing, with the command that installs it.
    """
    loggers: list[Any] = []
    for wanted, package in ((config.tensorboard, "tensorboard"), (config.wandb, "wandb")):
        if wanted and not _importable(package):
            raise ConfigError(f"log.{package} is on, but {package} is missing: pip install 'emotion2vec[{package}]'")
    if config.tensorboard:
        from lightning.fabric.loggers import TensorBoardLogger

        loggers.append(TensorBoardLogger(run, name="", version="tensorboard"))
    if config.wandb:
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(save_dir=run, name=run.name, id=run.name, resume="allow"))
    return loggers


def _importable(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


class Monitor:
    """Writes `metrics.jsonl` and shows progress: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, metrics_file: Path, config: LogConfig, first: int, last: int):
        self.config = config
        self.last = last
        self.console = Console(stderr=True)
        self._file: IO[str] = metrics_file.open("a", encoding="utf-8")
        self._next_line = time.monotonic()
        self._bar: Progress | None = None
        if config.progress and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("pretrain"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._task = self._bar.add_task("pretrain", total=last, completed=first - 1, status="")
            self._bar.start()

    def log(self, update: int, metrics: dict[str, float]) -> None:
        """Record one update's numbers."""
        line = {"update": update} | {name: _short(value) for name, value in metrics.items()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        status = _status(metrics)
        if self._bar is not None:
            self._bar.update(self._task, completed=update, status=status)
        elif time.monotonic() >= self._next_line or update == self.last:
            self.say(f"update {update}/{self.last}  {status}")
            self._next_line = time.monotonic() + 10.0

    def say(self, text: str) -> None:
        """Show a line of text to the user, above the bar where there is one."""
        (self._bar.console if self._bar is not None else self.console).print(
            text, highlight=False, markup=False, soft_wrap=True
        )

    def close(self) -> None:
        """Stop the bar and close the file."""
        if self._bar is not None:
            self._bar.stop()
        self._file.close()


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _status(metrics: dict[str, float]) -> str:
    parts = [f"loss {metrics['loss']:.3f}", f"frame {metrics['frame_loss']:.3f}"]
    if "utterance_loss" in metrics:
        parts.append(f"utterance {metrics['utterance_loss']:.3f}")
    parts.append(f"explained {metrics['explained_share']:.2f}")
    parts.append(f"{metrics['audio_seconds_per_second']:.0f} s audio/s")
    return "  ".join(parts)
