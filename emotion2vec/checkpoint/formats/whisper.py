"""Encoders of Whisper, read without its packages: Hugging Face folders, OpenAI's `.pt`, and CTranslate2's `model.bin`.

Decoders are left out. The fixed sinusoids that all three carry are computed by us, and compared when they are read.

D: model width. F: feed-forward width. M: mel bands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emotion2vec.checkpoint.formats.ctranslate2 import read_variables
from emotion2vec.checkpoint.formats.whisper_names import CTRANSLATE2, HUGGING_FACE, OPENAI, Names
from emotion2vec.checkpoint.pickle.torchfile import TorchFile
from emotion2vec.checkpoint.source import Source
from emotion2vec.errors import CheckpointError, ConfigError
from emotion2vec.model.config import Emotion2vecConfig, model_config
from emotion2vec.model.position import sinusoids

MODEL_TYPE = "whisper"
"""What Hugging Face's `config.json` calls it."""

ENCODER: dict[str, Any] = {
    "frontend": "logmel",
    "kernels": [3, 3],
    "strides": [1, 2],
    "norm": "pre",
    "final_norm": True,
    "positions": "sinusoid",
    "prenet_depth": 0,
    "tokens": 0,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "layerdrop": 0.0,
}
"""What all encoders of Whisper have in common."""

TOLERANCE = 4e-3
"""How far the sinusoids of a file may be from ours; bfloat16 keeps less than three digits."""


def read_whisper_folder(folder: Path, document: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Source:
    """Read a Hugging Face folder of `WhisperModel` or `WhisperForConditionalGeneration`.

    Args:
        folder: the folder.
        document: its `config.json`.
        weights: all its weights.

    Raises:
        CheckpointError: settings that our network does not have, or weights that do not fit them.
    """
    name = str(folder / "config.json")
    for key, expected in (("activation_function", "gelu"), ("scale_embedding", False)):
        if document.get(key, expected) != expected:
            raise CheckpointError(f"{name}: {key} is {document[key]!r}, expected {expected!r}")
    keys = {"depth": "encoder_layers", "heads": "encoder_attention_heads", "ffn_width": "encoder_ffn_dim"}
    keys |= {"width": "d_model", "mels": "num_mel_bins", "max_frames": "max_source_positions"}
    if missing := [key for key in keys.values() if not isinstance(document.get(key), int)]:
        raise CheckpointError(f"{name}: lacks {', '.join(missing)}, expected the dimensions of Whisper's encoder")
    dimensions = {ours: document[theirs] for ours, theirs in keys.items()}
    return _assemble("whisper", folder, [], weights, HUGGING_FACE, dimensions)


def is_openai(file: TorchFile) -> bool:
    """Whether what a file of `torch.save` holds is a model of OpenAI's Whisper."""
    content = file.content if isinstance(file.content, dict) else {}
    return isinstance(content.get("dims"), dict) and isinstance(content.get("model_state_dict"), dict)


def read_openai(path: Path, file: TorchFile) -> Source:
    """Read OpenAI's `.pt`.

    Raises:
        CheckpointError: it is no model of Whisper.
    """
    dims = file.content["dims"]
    keys = {"width": "n_audio_state", "heads": "n_audio_head", "depth": "n_audio_layer"}
    keys |= {"mels": "n_mels", "max_frames": "n_audio_ctx"}
    if missing := [key for key in keys.values() if not isinstance(dims.get(key), int)]:
        raise CheckpointError(f"{path}: dims lacks {', '.join(missing)}, expected the dimensions of Whisper's encoder")
    dimensions = {ours: dims[theirs] for ours, theirs in keys.items()}
    weights = file.content["model_state_dict"]
    first = weights.get("encoder.blocks.0.mlp.0.weight")
    dimensions["ffn_width"] = len(first) if isinstance(first, Tensor) else 4 * dimensions["width"]
    source = _assemble("openai", path, [path], weights, OPENAI, dimensions)
    source.pickle, source.release = True, file.file.release
    return source


def read_ctranslate2(path: Path) -> Source:
    """Read CTranslate2's `model.bin` of Whisper, as faster-whisper has it: float32, float16, bfloat16, int16 or int8.

    Raises:
        CheckpointError: it is truncated, or of another kind of model.
    """
    spec, variables, release = read_variables(path)
    if spec != "WhisperSpec":
        raise CheckpointError(f"{path}: holds a {spec or 'model without a name'}, expected WhisperSpec")
    weights = dict(_dequantized(variables, path))
    width, depth = _sizes(weights, path)
    heads = variables.get("encoder/num_heads")
    dimensions = {
        "width": width,
        "depth": depth,
        "heads": max(1, width // 64) if heads is None else int(heads.item()),
        "mels": weights["encoder/conv1/weight"].shape[1],
        "max_frames": len(weights["encoder/position_encodings/encodings"]),
        "ffn_width": len(weights["encoder/layer_0/ffn/linear_0/weight"]),
    }
    source = _assemble("ctranslate2", path, [path], weights, CTRANSLATE2, dimensions)
    source.release = release
    return source


def _sizes(weights: Mapping[str, Tensor], path: Path) -> tuple[int, int]:
    """Width and number of blocks of an encoder of CTranslate2."""
    needed = {"conv1/weight": 3, "position_encodings/encodings": 2, "layer_0/ffn/linear_0/weight": 2}
    for name, dimensions in needed.items():
        found = weights.get(f"encoder/{name}")
        if found is None or found.ndim != dimensions or not found.numel():
            what = "none" if found is None else f"shape {tuple(found.shape)}"
            raise CheckpointError(f"{path}: encoder/{name} has {dimensions} dimensions in Whisper, found {what}")
    depth = len({name.split("/")[1] for name in weights if name.startswith("encoder/layer_") and name.count("/") > 2})
    return len(weights["encoder/conv1/weight"]), depth


def _dequantized(variables: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
    """The encoder's weights in floating point: what is kept in whole numbers is divided by its scale, of each row."""
    for name, value in variables.items():
        if not name.startswith("encoder/") or name.endswith("_scale"):
            continue
        if not value.is_floating_point() and value.ndim:
            scale = variables.get(f"{name}_scale")
            if scale is None or scale.numel() not in (1, len(value)) or not value.numel():
                raise CheckpointError(
                    f"{path}: {name} of shape {tuple(value.shape)} is {value.dtype}, expected a {name}_scale beside it "
                    "with a number for all of it or for each row"
                )
            value = value.float() / scale.float().reshape(-1, *[1] * (value.ndim - 1))
        yield name, value


def _assemble(
    format: str,
    path: Path,
    files: list[Path],
    weights: Mapping[str, Any],
    names: Names,
    dimensions: Mapping[str, int],
) -> Source:
    """Rename the encoder's weights to ours, with all faults gathered."""
    try:
        config = model_config({**ENCODER, "channels": dimensions["width"], **dimensions}, str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from error
    prefix = _prefix(weights, names, path)
    own = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
    _check_sizes(own, names, config, path)
    reader = _Reader(own, names)
    student = reader.encoder(config)
    if reader.misshapen:
        raise CheckpointError(f"{path}: {'; '.join(reader.misshapen[:20])}")
    if reader.missing:
        listed = ", ".join(prefix + name for name in reader.missing[:20])
        raise CheckpointError(f"{path}: lacks {len(reader.missing)} weights of Whisper's encoder: {listed}")
    _check_positions(reader.positions, config, str(path))
    others = (name.removeprefix("model.") for name in weights if not name.startswith(prefix))
    left = sorted({name.partition(names.separator)[0] for name in others})
    left += [prefix + name for name in own if name not in reader.used]
    notes = ["audio is not padded to 30 s, which Whisper does: features differ from its own a little"]
    return Source(format, path, files, config, student, left=left, notes=notes)


def _prefix(weights: Mapping[str, Any], names: Names, path: Path) -> str:
    """What is in front of the encoder's names."""
    first = f"{names.convs[0]}{names.separator}weight"
    for prefix in (f"encoder{names.separator}", f"model.encoder{names.separator}", ""):
        if prefix + first in weights:
            return prefix
    shown = ", ".join(list(map(str, weights))[:5])
    raise CheckpointError(f"{path}: no encoder of Whisper, expected encoder{names.separator}{first}, found {shown}")


def _check_sizes(weights: Mapping[str, Any], names: Names, config: Emotion2vecConfig, path: Path) -> None:
    """Compare dimensions that decide how much is computed and built with what is there, before any of it is.

    Raises:
        CheckpointError: they differ.
    """
    before, _, after = names.norm1.partition("{i}")
    ends = tuple(f"{after}{names.separator}{part}" for part in names.norms)
    numbers = {name[len(before) :].partition(after[0])[0] for name in weights if name.endswith(ends)}
    there = max((int(number) + 1 for number in numbers if number.isdecimal()), default=0)
    if there != config.depth:
        raise CheckpointError(f"{path}: {there} blocks are there, expected {config.depth} as its dimensions say")
    expected = {f"{names.convs[0]}{names.separator}weight": (config.width, config.mels, config.kernels[0])}
    expected[names.positions] = (config.max_frames, config.width)  # type: ignore[assignment]
    for name, shape in expected.items():
        found = weights.get(name)
        if isinstance(found, Tensor) and tuple(found.shape) != shape:
            raise CheckpointError(f"{path}: {name} has shape {tuple(found.shape)}, expected {shape}")


class _Reader:
    """Takes weights by their names, and notes which are not there, or of no shape that can be joined."""

    def __init__(self, weights: Mapping[str, Tensor], names: Names):
        self._weights = weights
        self._names = names
        self.used: set[str] = set()
        self.missing: list[str] = []
        self.misshapen: list[str] = []
        self.positions: Tensor | None = None

    def encoder(self, config: Emotion2vecConfig) -> dict[str, Tensor]:
        """All weights in our names."""
        names = self._names
        found: dict[str, Tensor | None] = {}
        self.positions = self._take(names.positions)
        layers = [(f"frontend.layers.{i}", name, ("weight", "bias")) for i, name in enumerate(names.convs)]
        layers += [("backbone.final_norm", names.norm, names.norms)]
        for block in range(config.depth):
            layers += names.of_layers(block)
            found |= self._qkv(block, config.width)
        for ours, theirs, parts in layers:
            for part, their_part in zip(("weight", "bias"), parts, strict=True):
                found[f"{ours}.{part}"] = self._take(f"{theirs}{names.separator}{their_part}")
        return {name: value for name, value in found.items() if value is not None}

    def _qkv(self, block: int, width: int) -> dict[str, Tensor | None]:
        """Queries, keys and values as one matrix (3 D, D) and one bias (3 D,), zero for keys that have none."""
        parts = [name.format(i=block) + self._names.separator for name in self._names.qkv]
        ours = f"backbone.blocks.{block}.attention.qkv."
        if len(parts) == 1:
            return {ours + part: self._take(parts[0] + part) for part in ("weight", "bias")}
        weights = [self._take(part + "weight", (width, width)) for part in parts]
        biases = [self._take(part + "bias", (width,)) if number != 1 else None for number, part in enumerate(parts)]
        query, _, value = biases
        if query is None or value is None or any(weight is None for weight in weights):
            return {}
        biases = [query, torch.zeros_like(query), value]
        return {ours + "weight": torch.cat(weights), ours + "bias": torch.cat(biases)}  # type: ignore[arg-type]

    def _take(self, name: str, shape: tuple[int, ...] | None = None) -> Tensor | None:
        self.used.add(name)
        value = self._weights.get(name)
        if not isinstance(value, Tensor):
            self.missing.append(name)
            return None
        if shape is not None and tuple(value.shape) != shape:
            self.misshapen.append(f"{name} has shape {tuple(value.shape)}, expected {shape}")
            return None
        return value


def _check_positions(found: Tensor | None, config: Emotion2vecConfig, path: str) -> None:
    """See to it that a file's positions are the sinusoids that we compute."""
    assert found is not None, "what is missing was reported"
    expected = sinusoids(torch.arange(config.max_frames), config.width)
    distance = float((found.float() - expected).abs().max())
    if not distance <= TOLERANCE:  # nor NaN
        raise CheckpointError(f"{path}: positions are {distance:.2g} from Whisper's sinusoids, expected those")
