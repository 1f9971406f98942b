"""What a model is, in plain facts: the function behind `emotion2vec info`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.budget import refusing
from emotion2vec.checkpoint.card import licence, licence_text
from emotion2vec.checkpoint.hub import full_name
from emotion2vec.checkpoint.native import FORMAT_VERSION
from emotion2vec.checkpoint.opening import read_source
from emotion2vec.checkpoint.weights import check_weights
from emotion2vec.files import sha256
from emotion2vec.model.foreign_config import ForeignConfig
from emotion2vec.settings import to_dict

if TYPE_CHECKING:
    from torch import Tensor

PARTS = {
    "frontend.layers": "CNN",
    "frontend.norm": "projection",
    "frontend.projection": "projection",
    "backbone.positions": "positions",
    "backbone.tokens": "utterance tokens",
    "backbone.alibi_scale": "ALiBi scale",
    "backbone.prenet_norm": "prenet",
    "backbone.prenet": "prenet",
    "backbone.blocks": "blocks",
    "backbone.final_norm": "blocks",
    "network.feature_extractor": "CNN",
    "network.feature_projection": "projection",
    "network.encoder": "blocks and positions",
}
HEADS = {"head": "head", "further": "further heads"}
FORMATS = {
    "native": f"emotion2vec {FORMAT_VERSION}",
    "fairseq": "fairseq (data2vec 2.0)",
    "funasr": "FunASR",
    "huggingface": "Hugging Face",
    "safetensors": "weights alone",
    "whisper": "Hugging Face (Whisper)",
    "openai": "OpenAI (Whisper)",
    "transformers": "Hugging Face (transformers)",
    "ctranslate2": "CTranslate2 (Whisper)",
}


@dataclass(frozen=True)
class FileFacts:
    """A file of weights: its bytes, and its SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What a checkpoint is; what it has not is None or empty.

    Attributes:
        source: what was asked for, a short name spelled out.
        path: the folder or file that was read.
        format: whose format it is, how its tensors are kept, and their dtypes.
        pickle: whether it is a pickle, and what was run of it.
        model: dimensions of the network.
        frames_per_second: vectors of features per second of audio.
        parameters: numbers of the student by part, and `total`.
        teacher: numbers of the EMA teacher.
        decoder: numbers of the pretraining decoder.
        labels: the head's labels.
        further: labels of the heads beside it, by what they tell.
        text_encoder: folder or name of what reads texts for the head, if it is told them.
        update: the pretraining update of the weights.
        licence: what the files beside the weights say of it.
        files: those that hold the weights, by name.
        left: names in the file that nothing of ours takes.
        notes: what a user should know about how the checkpoint was read.
    """

    source: str
    path: str
    format: str
    pickle: str
    model: dict[str, Any]
    frames_per_second: float
    parameters: dict[str, int]
    teacher: int | None
    decoder: int | None
    labels: tuple[str, ...]
    further: dict[str, str]
    text_encoder: str
    update: int | None
    licence: str
    files: dict[str, FileFacts]
    left: tuple[str, ...]
    notes: tuple[str, ...]


def describe_model(source: str | Path) -> ModelFacts:
    """Describe a model without building it.

    Raises:
        CheckpointError: as `load_model`.
        ConfigError: as `load_model`.
    """
    found = read_source(source)
    with refusing(found.path):
        check_weights(found.shapes(), found.student, str(found.path))
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in found.student.values()})
    return ModelFacts(
        source=full_name(str(source)),
        path=str(found.path),
        format=f"{FORMATS[found.format]}, {'pickle' if found.pickle else 'safetensors'} ({', '.join(dtypes)})",
        pickle="yes; read without running anything in it" if found.pickle else "no",
        model=found.config.facts() if isinstance(found.config, ForeignConfig) else to_dict(found.config),
        frames_per_second=SAMPLE_RATE / found.config.grid.stride,
        parameters=parameters(found.student),
        teacher=_numbers(found.teacher),
        decoder=_numbers(found.decoder),
        labels=found.labels,
        further={one.target: ", ".join(one.labels) for one in found.further},
        text_encoder=found.head.text,
        update=found.update,
        licence=licence_text(licence(found.path)),
        files={path.name: FileFacts(path.stat().st_size, sha256(path)) for path in found.files},
        left=tuple(found.left),
        notes=tuple(found.notes),
    )


def _numbers(weights: Mapping[str, Tensor]) -> int | None:
    return sum(value.numel() for value in weights.values()) if weights else None


def parameters(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the parameters of every part, and `total`."""
    counts: Counter[str] = Counter()
    for name, value in weights.items():
        first, _, rest = name.partition(".")
        part = first if first in HEADS else f"{first}.{rest.partition('.')[0]}"
        counts[HEADS.get(first) or PARTS[part]] += value.numel()
    return {**counts, "total": counts.total()}
