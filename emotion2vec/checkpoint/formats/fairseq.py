"""Checkpoint files: fairseq's, read and written without fairseq, and weights alone as others save them, read.

H: heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.formats.data2vec.from_settings import Settings, decoder_faults, find_settings, translate
from emotion2vec.checkpoint.formats.data2vec.names import state_from_fairseq, state_to_fairseq
from emotion2vec.checkpoint.formats.data2vec.to_settings import model_settings
from emotion2vec.checkpoint.formats.data2vec.weights import Weights, sort_weights
from emotion2vec.checkpoint.mapped import MappedFile, map_safetensors
from emotion2vec.checkpoint.pickle.records import DamagedPickle, plain
from emotion2vec.checkpoint.pickle.torchfile import read_torch_file
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import (
    decoder_dimensions,
    decoder_names,
    dimensions_of,
    plain_tensors,
    split_head,
)
from emotion2vec.errors import CheckpointError
from emotion2vec.files import complete_file
from emotion2vec.model.config import Emotion2vecConfig

_STATES = ("model", "state_dict", "model_state_dict")
"""Where files keep the model's state; a file without any of them is the state itself."""
HEAD_KEY = "emotion2vec"
"""Where our own fairseq files keep a head and its labels; fairseq's data2vec 2.0 has none, and ignores the entry."""
_OPTIMIZER = ("last_optimizer_state", "optimizer", "optimizer_state_dict")


@dataclass
class WeightFile:
    """One file's state, whatever it is packed in.

    Attributes:
        path: the file.
        state: names and tensors, and the teacher under `_ema`.
        settings: fairseq's configuration, empty in a file without.
        left: what is beside the model and not taken, such as the optimizer's state.
        mapped: the file in memory.
        pickle: whether it is a pickle.
        update: the update of the weights, where it is known.
        own: what our own writer kept beside the model, under `HEAD_KEY`.
    """

    path: Path
    state: Mapping[str, Any]
    settings: Settings
    left: list[str]
    mapped: MappedFile
    pickle: bool = False
    update: int | None = None
    own: Any = None


def read_file(path: Path) -> Source:
    """Read a checkpoint that is one file.

    Raises:
        CheckpointError: it is damaged, of another kind, or holds settings or weights that our network does not have.
    """
    file = open_weights(path)
    source = assemble(file, file.settings, "fairseq" if file.pickle else "safetensors")
    if file.own is not None:
        _take_head(file, source)
    elif "head.weight" in source.student:
        source.labels = tuple(str(number) for number in range(len(source.student["head.weight"])))
        source.notes.append("the file names no labels: they are the head's outputs, numbered from 0")
    return source


def _take_head(file: WeightFile, source: Source) -> None:
    """Take the head and the labels that `convert --to fairseq` keeps beside the model."""
    kept = file.own
    head, labels = (kept.get("head"), kept.get("labels")) if isinstance(kept, dict) else (None, None)
    if not isinstance(head, dict) or not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise CheckpointError(f"{file.path}: {HEAD_KEY} is damaged, expected a head's weights and its labels")
    source.student |= state_from_fairseq(head)
    source.labels = tuple(labels)


def open_weights(path: Path) -> WeightFile:
    """Open a file of `torch.save` or safetensors and find the model's state in it.

    Raises:
        CheckpointError: it is damaged, wants something run, or holds no model.
    """
    if is_safetensors(path):
        tensors, mapped = map_safetensors(path)
        return WeightFile(path, tensors, Settings(), [], mapped)
    file = read_torch_file(path)
    content = file.content
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected the state of a model")
    state = next((content[key] for key in _STATES if isinstance(content.get(key), dict)), content)
    if not any(isinstance(value, Tensor) for value in state.values()):
        keys = ", ".join(str(key)[:60] for key in list(content)[:10])
        raise CheckpointError(f"{path}: holds no weights of a model (keys: {keys or 'none'})")
    settings = Settings() if state is content else _settings(content, path)
    left = [f"{key} (optimizer state)" for key in _OPTIMIZER if state is not content and content.get(key)]
    return WeightFile(path, state, settings, left, file.file, True, _update(content), content.get(HEAD_KEY))


def _settings(content: Mapping[str, Any], path: Path) -> Settings:
    try:
        return find_settings({key: plain(content[key]) for key in ("cfg", "args") if content.get(key) is not None})
    except DamagedPickle as error:
        raise CheckpointError(f"{path}: {error}") from error


def is_safetensors(path: Path) -> bool:
    """Whether a file starts like safetensors: the size of a JSON header, then the header."""
    with path.open("rb") as stream:
        start = stream.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size


def _update(content: Mapping[str, Any]) -> int | None:
    """The number of updates that fairseq's last optimizer made."""
    history = content.get("optimizer_history")
    last = history[-1] if isinstance(history, list) and history else None
    update = last.get("num_updates") if isinstance(last, dict) else None
    return update if isinstance(update, int) else None


def assemble(file: WeightFile, settings: Settings, format: str, scope: Mapping[str, str] | None = None) -> Source:
    """Make a source of a file's weights and settings; without settings, of the weights' shapes.

    Args:
        file: the weights.
        settings: fairseq's, from the file or from beside it.
        format: what the source is called.
        scope: prefixes of names to replace.

    Raises:
        CheckpointError: settings or weights that our network does not have.
    """
    name = str(file.path)
    notes: list[str] = []
    weights = sort_weights(file.state, name, scope)
    known = bool(settings.model)
    config = translate(settings, name, notes) if known else dimensions_of(weights.student, name, notes)
    _spread_alibi_scale(weights, config, notes)
    if faults := decoder_faults(settings):
        notes.append(f"the decoder is not taken, its settings are not implemented: {', '.join(faults)}")
        weights.left += [f"decoder.{key}" for key in weights.decoder]
        weights.decoder = {}
    return Source(
        format=format,
        path=file.path,
        files=[file.path],
        config=config,
        student=weights.student,
        teacher=weights.teacher,
        decoder=weights.decoder,
        decoder_config=decoder_dimensions(weights.decoder),
        pickle=file.pickle,
        left=weights.left + file.left,
        notes=notes,
        update=file.update,
        release=file.mapped.release,
    )


def _spread_alibi_scale(weights: Weights, config: Emotion2vecConfig, notes: list[str]) -> None:
    """Give every head the one scale of a model that was trained without one per head; it computes the same."""
    for part in (weights.student, weights.teacher):
        scale = part.get("backbone.alibi_scale")
        if scale is not None and scale.shape == (1,) and config.heads > 1:
            part["backbone.alibi_scale"] = scale.repeat(config.heads)  # (1,) -> (H,)
            notes.append("one ALiBi scale for all heads in the file, given to each of them")


def write_fairseq(source: Source, path: Path) -> list[str]:
    """Write `source` as a fairseq `.pt` that `data2vec_multi` loads: student, decoder, and teacher under `_ema`.

    Returns:
        What a user should know about what was left out.
    """
    settings = model_settings(source)
    head, encoder = split_head(source.student)
    model: dict[str, Any] = plain_tensors(state_to_fairseq(encoder | decoder_names(source.decoder)))
    if source.teacher:
        model["_ema"] = plain_tensors(state_to_fairseq(source.teacher), float32=True)
    state: dict[str, Any] = {
        "args": None,
        "cfg": {
            "model": {"_name": "data2vec_multi", **settings},
            "task": {"_name": "audio_pretraining", "data": "", "normalize": True, "sample_rate": SAMPLE_RATE},
        },
        "model": model,
        "criterion": {},
        "optimizer_history": [
            {
                "criterion_name": "ModelCriterion",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": 0,
            }
        ],
        "task_state": {},
        "extra_state": {"epoch": 1},
        "last_optimizer_state": None,
    }
    if head:
        state[HEAD_KEY] = {"head": plain_tensors(state_to_fairseq(head)), "labels": list(source.labels)}
    with complete_file(path) as partial, open(partial, "wb") as stream:  # torch's own does not say why it failed
        torch.save(state, stream)
    return ["fairseq's data2vec 2.0 has no head: it is kept in the file, and fairseq ignores it"] if head else []
