"""The model that a run leaves: its best checkpoint, as a model folder of its own right in the run folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from scipy.special import softmax
from torch import Tensor

from emotion2vec.checkpoint.heard import HEARD_FILE
from emotion2vec.checkpoint.native import CONFIG_FILE, WEIGHTS_FILE, description, newest_checkpoint
from emotion2vec.checkpoint.opening import load_model
from emotion2vec.errors import StorageError
from emotion2vec.files import complete_file, write_json
from emotion2vec.finetune.aims import MAIN
from emotion2vec.finetune.config import FinetuneConfig, load_config
from emotion2vec.finetune.held_out import Clip, HeldOutSpeakers, judged
from emotion2vec.finetune.scoring import score_waveforms
from emotion2vec.finetune.texts import telling
from emotion2vec.model.heads import Head
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.model.text import Told, answered
from emotion2vec.tasks.calibration import calibration_error, fit_temperature
from emotion2vec.tasks.metrics import format_score
from emotion2vec.training.run import Say
from emotion2vec.training.run_folder import CHECKPOINTS, RunFolder

FACTS = "finetuned.json"
"""What is said of the model of a run folder: its update, validation scores and temperature."""


def best_update(folder: RunFolder) -> int | None:
    """The update that scored best in validation, the later one of two; None before any is saved."""
    newest = newest_checkpoint(folder.path)
    if newest is None:
        return None
    kept = {update: score for update, score in folder.scores().items() if _checkpoint(folder, update).is_dir()}
    if not kept:
        return int(newest.name.removeprefix("update_"))
    return max(kept, key=lambda update: (kept[update], update))


def _checkpoint(folder: RunFolder, update: int) -> Path:
    return folder.path / CHECKPOINTS / f"update_{update:08d}"


def publish(
    folder: RunFolder, judge: HeldOutSpeakers, config: FinetuneConfig, scales: Mapping[str, Any], say: Say
) -> None:
    """Make the run folder a model folder, whose model is the best one, calibrated on what chose it.

    What is said of it is kept in `finetuned.json` beside it; the description of the model comes last.

    Args:
        folder: of the run, with checkpoints.
        judge: the held-out clips.
        config: of the run.
        scales: of the values that it learnt, see `emotion2vec.finetune.learnt_scales`.
        say: shows a line of text to the user.

    Raises:
        StorageError: the disk does not take it.
    """
    update = best_update(folder)
    assert update is not None
    source = _checkpoint(folder, update)
    model = load_model(source)
    assert model.head is not None
    told = telling(judge.texts, [clip.text for clip in judge.clips])
    rows = score_waveforms(partial(_said, model), [clip.waveform for clip in judge.clips], model.device, told)
    facts: dict[str, Any] = {"update": update, "validation_clips": len(judge.clips)}
    facts["validation"] = judged(judge.aims, rows, judge.clips)
    calibrated = {
        name: _calibrated(name, head, rows[name], judge.clips, wanted=config.finetune.calibrate)
        for name, head in model.heads().items()
        if head.config.task == "classes"
    }
    facts |= calibrated.pop(MAIN, {})
    if calibrated:
        facts["further"] = calibrated
    if scales:
        facts["scales"] = scales
    _write(folder, source, model, facts)
    main = judge.aims[MAIN].goal.main
    score = format_score(facts["validation"][main], "%" if main == "UA" else "", main)
    say(f"the model is that of update {update}, validation {score}")


def _said(
    model: SpeechEncoder, waveforms: Tensor, padding: Tensor | None, told: Told | None = None
) -> dict[str, Tensor]:
    """What all heads say of waveforms (B, S), and texts: scores (B, K), or symbols of frames (B, T)."""
    encoded, heads = model(waveforms, padding), model.heads(symbols=True)
    return {name: answered(head, encoded.read_by(head), encoded.padding, told) for name, head in heads.items()}


def publish_again(folder: RunFolder, chosen: Mapping[str, Any], say: Say) -> None:
    """Make the run folder a model folder of its last checkpoint, with the temperatures of the model that chose it.

    Args:
        folder: of a run whose clips all trained.
        chosen: what `finetuned.json` says of the first model.
        say: shows a line of text to the user.

    Raises:
        StorageError: the disk does not take it.
    """
    source = newest_checkpoint(folder.path)
    assert source is not None
    model = load_model(source)
    told = {MAIN: chosen, **chosen.get("further", {})}
    for name, head in model.heads().items():
        if (temperature := told.get(name, {}).get("temperature")) is not None:
            _flatten(head, temperature)
    _write(folder, source, model, {**chosen, "refit": True})
    say(f"the model is that of update {chosen['update']}, of all clips; validation scores are of the first one")


def _write(folder: RunFolder, source: Path, model: SpeechEncoder, facts: Mapping[str, Any]) -> None:
    """Write a model of a checkpoint, and what is said of it, into the run folder.

    Raises:
        StorageError: the disk does not take it.
    """
    assert model.head is not None
    try:
        write_json(folder.path / FACTS, facts)
        if (source / HEARD_FILE).is_file():
            with complete_file(folder.path / HEARD_FILE) as partial:
                shutil.copyfile(source / HEARD_FILE, partial)
        with complete_file(folder.path / WEIGHTS_FILE) as partial:
            save_file({name: value.contiguous() for name, value in model.state_dict().items()}, partial)
        described = description(model.config, model.head.labels, model.head.config, model.further_heads())
        write_json(folder.path / CONFIG_FILE, described)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"run.dir {folder.path}: the best model could not be written: {error}") from error


def check_same(config: FinetuneConfig) -> None:
    """Check that a run folder was trained with these settings.

    Raises:
        ConfigError: it was trained with others.
    """
    folder = RunFolder(config)
    if config.optim.epochs:  # which became so many updates when the clips were counted
        before = load_config(folder.config_file).optim
        timed = replace(config.optim, max_updates=before.max_updates)
        folder = RunFolder(replace(config, optim=timed))
    folder.same_run_notes()


def _flatten(head: Head, temperature: float) -> None:
    """Let the last layer of a head take in a temperature."""
    outputs = len(head.labels)
    head.rescale(torch.zeros(outputs), torch.full((outputs,), 1 / temperature))


def _calibrated(name: str, head: Head, rows: np.ndarray, clips: Sequence[Clip], *, wanted: bool) -> dict[str, float]:
    """Bring a head's probabilities to the temperature of held-out clips, which its last layer takes in.

    Clips that lack its target are passed over; nothing comes of none.
    """
    there = [place for place, clip in enumerate(clips) if name in clip.truths]
    if not there:
        return {}
    rows, truth = rows[there], np.stack([clips[place].truths[name] for place in there])
    before = calibration_error(truth, softmax(rows, axis=1))
    if not wanted:
        return {"calibration_error": before}
    temperature = fit_temperature(truth, rows)
    _flatten(head, temperature)
    after = calibration_error(truth, softmax(rows / temperature, axis=1))
    return {"temperature": temperature, "calibration_error": after, "calibration_error_before": before}


def withdraw(folder: Path) -> None:
    """Before a run goes on: what an earlier end of it left is no longer its model."""
    with suppress(FileNotFoundError):
        (folder / CONFIG_FILE).unlink()
