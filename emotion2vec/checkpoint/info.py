"""What a model is, in plain facts: the function behind `emotion2vec info`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.audio.frames import SAMPLE_RATE, frame_stride
from emotion2vec.checkpoint.hub import full_name
from emotion2vec.checkpoint.native import FORMAT_VERSION, check_weights
from emotion2vec.checkpoint.provenance import licence, licence_text, sha256
from emotion2vec.checkpoint.source import read_source
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
    "head.weight": "head",
    "head.bias": "head",
}
FORMATS = {
    "native": f"emotion2vec {FORMAT_VERSION}",
    "fairseq": "fairseq (data2vec 2.0)",
    "funasr": "FunASR",
    "huggingface": "Hugging Face",
    "safetensors": "weights alone",
}


def describe_model(source: str | Path) -> dict[str, Any]:
    """Describe a model without building it.

    Returns:
        `source` (with a short name spelled out), `path`, `format`, `pickle`, `model` (its dimensions),
        `frames_per_second`, `parameters` (by part and `total`), `teacher` and `decoder` (their parameters, where there
        are any), `labels`, `update`, `licence` where known, `files` (bytes and SHA-256 of each), `left` (what nothing
        of ours takes) and notes.

    Raises:
        CheckpointError: as `load_model`.
        ConfigError: as `load_model`.
    """
    from emotion2vec.model.encoder import Emotion2vec
    from emotion2vec.model.shapes import shapes_alone

    found = read_source(source)
    with shapes_alone():
        check_weights(Emotion2vec(found.config, found.labels), found.student, str(found.path))
    dtypes = sorted({str(value.dtype).removeprefix("torch.") for value in found.student.values()})
    facts: dict[str, Any] = {
        "source": full_name(str(source)),
        "path": str(found.path),
        "format": f"{FORMATS[found.format]}, {'pickle' if found.pickle else 'safetensors'} ({', '.join(dtypes)})",
        "pickle": "yes; read without running anything in it" if found.pickle else "no",
        "model": to_dict(found.config),
        "frames_per_second": SAMPLE_RATE / frame_stride(found.config.strides),
        "parameters": parameters(found.student),
    }
    for name, weights in (("teacher", found.teacher), ("decoder", found.decoder)):
        if weights:
            facts[name] = sum(value.numel() for value in weights.values())
    if found.labels:
        facts["labels"] = ", ".join(found.labels)
    if found.update is not None:
        facts["update"] = found.update
    facts["licence"] = licence_text(licence(found.path))
    facts["files"] = {path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in found.files}
    if found.left:
        facts["left"] = ", ".join(found.left)
    facts |= {f"note {number}": note for number, note in enumerate(found.notes, 1)}
    return facts


def parameters(weights: Mapping[str, Tensor]) -> dict[str, int]:
    """Count the parameters of every part, and `total`."""
    counts: Counter[str] = Counter()
    for name, value in weights.items():
        counts[PARTS[".".join(name.split(".")[:2])]] += value.numel()
    return {**counts, "total": counts.total()}
