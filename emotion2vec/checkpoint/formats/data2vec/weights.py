"""Weights of fairseq's data2vec 2.0 audio and emotion2vec, sorted into student, teacher, decoder and head.

Nothing of fairseq is imported. N: utterance tokens. D: model width. H: heads.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from emotion2vec.checkpoint.formats.data2vec.names import from_fairseq, to_fairseq
from emotion2vec.errors import CheckpointError
from emotion2vec.settings import fault_list


@dataclass
class Weights:
    """Weights of one file in our names.

    Attributes:
        student: those of `Emotion2vec`, with `head.*`.
        teacher: those of the EMA teacher.
        decoder: those of `Decoder`.
        left: names that nothing of ours takes.
    """

    student: dict[str, Tensor] = field(default_factory=dict)
    teacher: dict[str, Tensor] = field(default_factory=dict)
    decoder: dict[str, Tensor] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)


# Wrappers around the network: fairseq's fine-tuning models, and torch's data parallel ones.
_WRAPPERS = ("module.", "d2v_model.")
# Parts of data2vec 2.0 that only other modalities or losses use.
_LEFT = re.compile(r"modality_encoders\.(IMAGE|TEXT)\..*|recon_proj\..*|shared_decoder\..*|_ema\..*")
_KINDS = [
    (re.compile(r"modality_encoders\.IMAGE\..*|patch_embed\..*|visual\..*|conv1\.weight"), "an image model"),
    (re.compile(r"modality_encoders\.TEXT\..*|(roberta\.|bert\.)?embeddings?\..*"), "a text model"),
    (re.compile(r"w2v_encoder\..*|encoder\.encoders.*|(.*\.)?ctc\..*|model\.encoder\.conv1\..*"), "an ASR model"),
    (re.compile(r"(\w+\.)?feature_(extractor|projection)\..*"), "a wav2vec 2.0, HuBERT, WavLM or data2vec 1.0 model"),
]


def sort_weights(state: Mapping[str, Any], source: str, scope: Mapping[str, str] | None = None) -> Weights:
    """Rename fairseq's weights to ours and sort them into student, teacher and decoder.

    Args:
        state: the model's state, with the teacher under `_ema` where it has one.
        source: the file's name, for messages.
        scope: prefixes to replace, as FunASR's `scope_map` has them.

    Raises:
        CheckpointError: names that data2vec 2.0 audio does not have, all listed; or another kind of model.
    """
    found = Weights()
    unknown: list[str] = []
    for full, value in state.items():
        name = _unwrapped(str(full), scope or {})
        if name == "_ema" and isinstance(value, dict):
            found.teacher = _teacher(value, found.left, unknown)
        elif not isinstance(value, Tensor) or _LEFT.fullmatch(name):
            found.left.append(str(full))
        elif (ours := _our_name(name)) is None:
            unknown.append(f"{full} {tuple(value.shape)}")
        elif ours.startswith("decoder."):
            found.decoder[ours.removeprefix("decoder.")] = value
        else:
            found.student[ours] = _shaped(ours, value)
    known = len(found.student)
    if len(unknown) > known or not any(name.startswith("frontend.") for name in found.student):
        raise CheckpointError(f"{source}: {_wrong_kind(state)}; expected data2vec 2.0 audio or emotion2vec")
    if unknown:
        raise CheckpointError(fault_list(f"{source}, weights that data2vec 2.0 audio does not have", unknown))
    return found


def _unwrapped(name: str, scope: Mapping[str, str]) -> str:
    for old, new in scope.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _our_name(name: str) -> str | None:
    """Our name of a weight of fairseq's, or of ours as `torch.save(model.state_dict())` keeps it."""
    return from_fairseq(name) or (name if to_fairseq(name) else None)


def _teacher(state: Mapping[str, Any], left: list[str], unknown: list[str]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        ours = from_fairseq(str(name))
        if not isinstance(value, Tensor) or (ours or "").startswith("decoder.") or _LEFT.fullmatch(str(name)):
            left.append(f"_ema.{name}")
        elif ours is None:
            unknown.append(f"_ema.{name} {tuple(value.shape)}")
        else:
            found[ours] = _shaped(ours, value)
    return found


def _shaped(name: str, value: Tensor) -> Tensor:
    """Drop the leading dimensions that fairseq keeps on tokens and ALiBi scale, where there is nothing in them."""
    if name == "backbone.tokens" and value.ndim == 3 and len(value) == 1:
        return value.squeeze(0)  # (1, N, D) -> (N, D)
    if name == "backbone.alibi_scale" and value.numel() == math.prod(value.shape[2:3]):
        return value.flatten()  # (1, 1, H, 1, 1) -> (H,)
    return value


def _wrong_kind(state: Mapping[str, Any]) -> str:
    names = [_unwrapped(str(name), {}) for name in state]
    for pattern, kind in _KINDS:
        if any(pattern.fullmatch(name) for name in names):
            return f"looks like {kind} ({len(names)} weights, such as {next(n for n in names if pattern.fullmatch(n))})"
    return f"is another kind of model ({len(names)} weights: {', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"
