"""Hugging Face folders of other speech encoders: wav2vec 2.0, HuBERT, WavLM, data2vec and their siblings.

Their weights keep the names that transformers gives them, under `network.`. A classifier of two linear layers around
the mean over time, as `AutoModelForAudioClassification` has it, is read as a head.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.card import model_card
from emotion2vec.checkpoint.formats.documents import json_text, read_json, read_labels, written_labels
from emotion2vec.checkpoint.source import Source
from emotion2vec.checkpoint.weights import plain_tensors
from emotion2vec.errors import CheckpointError
from emotion2vec.files import complete_folder
from emotion2vec.model.config import HeadConfig
from emotion2vec.model.foreign_config import ForeignConfig, foreign_config, sampling_fault, transformers

PREFIX = "network."
"""In front of every weight: the attribute of `ForeignEncoder` that holds the network of transformers."""

PREPROCESSOR_FILE = "preprocessor_config.json"

TASK_PREFIXES = {
    "wav2vec2": "wav2vec2.",
    "hubert": "hubert.",
    "wavlm": "wavlm.",
    "data2vec-audio": "data2vec_audio.",
    "wav2vec2-conformer": "wav2vec2_conformer.",
    "unispeech": "unispeech.",
    "unispeech-sat": "unispeech_sat.",
}
"""What stands in front of the encoder's weights in models for a task, such as classification or transcription."""

OLD_NAMES = {
    "conv.weight_g": "conv.parametrizations.weight.original0",
    "conv.weight_v": "conv.parametrizations.weight.original1",
}
"""Ends of names by which weight norm was saved up to PyTorch 2.0, and by which it is since."""

_HEAD = {"projector": "head.hidden", "classifier": "head.output"}
_PARTS = ("feature_extractor.", "feature_projection.", "encoder.")
_UNUSED = "encoder.pos_conv_embed."
"""Of a Conformer, which has no use for it; see `ForeignEncoder`."""
_BLOCK = re.compile(r"encoder\.layers\.(\d+)\.")


def read_foreign(folder: Path, document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Source:
    """Read a folder of an encoder, alone or in a model for a task.

    Args:
        folder: the folder.
        document: its `config.json`.
        weights: all its weights.

    Raises:
        CheckpointError: it is no such encoder, lacks some of its weights, or hears audio at another rate than 16 kHz.
        ConfigError: transformers is not installed.
    """
    notes: list[str] = []
    kind = document["model_type"]
    normalizes = _normalizes(folder, notes)
    config = foreign_config(kind, document, normalizes, str(folder / "config.json"))
    prefix = TASK_PREFIXES[kind]
    if not (within := any(name.startswith(prefix) for name in weights)):
        prefix = ""
    student, rest = {}, {}
    for name, value in weights.items():
        own = name.removeprefix(prefix)
        if name.startswith(prefix) and own.startswith(_PARTS) and not (config.conformer and own.startswith(_UNUSED)):
            student[PREFIX + _new_name(own)] = value
        else:
            rest[own] = value
    _check_blocks(student, config, folder)
    source = Source("transformers", folder, [], config, student, notes=notes)
    if within:
        _take_head(source, document, rest)
    source.left = sorted(rest)
    return source


def _new_name(name: str) -> str:
    for old, new in OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _normalizes(folder: Path, notes: list[str]) -> bool:
    """Whether the folder's feature extractor normalizes."""
    path = folder / PREPROCESSOR_FILE
    if not path.is_file():
        notes.append(f"no {PREPROCESSOR_FILE}: audio is taken to be normalized, as is usual")
        return True
    said = read_json(path)
    if fault := sampling_fault(said.get("sampling_rate", SAMPLE_RATE)):
        raise CheckpointError(f"{path}: {fault}")
    normalizes = said.get("do_normalize", True)
    if not isinstance(normalizes, bool):
        raise CheckpointError(f"{path}: do_normalize is {normalizes!r}, expected true or false")
    return normalizes


def _check_blocks(student: Mapping[str, Tensor], config: ForeignConfig, folder: Path) -> None:
    """Say in one sentence that blocks are missing, before their weights are compared one by one."""
    there = {int(match[1]) for name in student if (match := _BLOCK.match(name.removeprefix(PREFIX)))}
    if there != set(range(config.depth)):
        raise CheckpointError(
            f"{folder}: the weights hold {len(there)} Transformer blocks of {config.type}, expected {config.depth}, as "
            "config.json says (num_hidden_layers)"
        )


def _take_head(source: Source, document: Mapping[str, Any], rest: dict[str, Tensor]) -> None:
    """Take a classifier out of the rest of the weights, where it is one that a head of ours computes."""
    names = {f"{theirs}.{part}": f"{ours}.{part}" for theirs, ours in _HEAD.items() for part in ("weight", "bias")}
    others = {name for name in rest if not name.startswith(("masked_spec_embed", "layer_weights", "encoder."))}
    if others != set(names):  # a model for another task, such as x-vectors, has layers between these
        return
    if document.get("use_weighted_layer_sum"):
        source.notes.append("its head is left out: it weighs what enters the first block too, which no head here reads")
        return
    source.labels = read_labels(document, source.path / "config.json", len(rest["classifier.weight"]))
    source.head = HeadConfig(kind="two", hidden=len(rest["projector.weight"]))
    source.student |= {ours: rest.pop(theirs) for theirs, ours in names.items()}


def write_foreign(source: Source, folder: Path) -> list[str]:
    """Write a folder that transformers' `AutoModel`, and with a head `AutoModelForAudioClassification`, reads.

    Args:
        source: with a head of two linear layers (`checkpoint.linear_head`), or without one.
        folder: where to.

    Returns:
        What a user should know about what was left out.

    Raises:
        CheckpointError: it lacks the last norm that transformers has.
    """
    config = source.config
    assert isinstance(config, ForeignConfig)
    if not config.last_norm:
        raise CheckpointError(
            f"{source.path}: its last layer norm went when it was cut, and transformers' {config.type} has one; "
            "expected to be native"
        )
    weights = _their_weights(source, config)
    with complete_folder(folder) as partial:
        save_file(plain_tensors(weights), partial / "model.safetensors", metadata={"format": "pt"})
        for name, document in (("config.json", _document(source, config)), (PREPROCESSOR_FILE, _preprocessor(config))):
            (partial / name).write_text(json_text(document), encoding="utf-8")
        (partial / "README.md").write_text(model_card(source, "transformers"), encoding="utf-8")
    return []


def _their_weights(source: Source, config: ForeignConfig) -> dict[str, Tensor]:
    prefix = TASK_PREFIXES[config.type] if source.labels else ""
    weights = {
        prefix + name.removeprefix(PREFIX): value for name, value in source.student.items() if name.startswith(PREFIX)
    }
    if source.labels:
        for theirs, ours in _HEAD.items():
            weights |= {f"{theirs}.{part}": source.student[f"{ours}.{part}"] for part in ("weight", "bias")}
    return weights


def _document(source: Source, config: ForeignConfig) -> dict[str, Any]:
    """What `config.json` holds."""
    package = transformers()
    full = package.AutoConfig.for_model(config.type, **config.settings)
    mapping = package.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING if source.labels else package.MODEL_MAPPING
    document = {"architectures": [mapping[type(full)].__name__], "model_type": config.type, **config.settings}
    if source.labels:
        document |= written_labels(source.labels) | {"classifier_proj_size": source.head.hidden}
    return document


def _preprocessor(config: ForeignConfig) -> dict[str, Any]:
    return {
        "do_normalize": config.normalizes,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": config.pads,
        "sampling_rate": SAMPLE_RATE,
    }
