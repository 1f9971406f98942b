"""What a model is, in plain facts: the function behind `emotion2vec info`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from emotion2vec.audio import SAMPLE_RATE, frame_stride
from emotion2vec.checkpoint.native import (
    FORMAT,
    FORMAT_VERSION,
    STATE_FILE,
    WEIGHTS_FILE,
    find_model,
    read_description,
    read_tensors,
)
from emotion2vec.strict import to_dict

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


def describe_model(source: str | Path) -> dict[str, Any]:
    """Describe a model without building it.

    Returns:
        `folder`, `format`, `model` (its dimensions), `frames_per_second`, `parameters` (by part and `total`), `bytes`,
        `sha256` of the weights, and `update` for a checkpoint of a run.

    Raises:
        CheckpointError: as `load_model`.
    """
    folder = find_model(source)
    config = read_description(folder).config
    weights = folder / WEIGHTS_FILE
    parameters: Counter[str] = Counter()
    dtypes = set()
    for name, value in read_tensors(weights).items():
        parameters[PARTS.get(".".join(name.split(".")[:2]), "other")] += value.numel()
        dtypes.add(str(value.dtype).removeprefix("torch."))
    facts: dict[str, Any] = {
        "folder": str(folder),
        "format": f"{FORMAT} {FORMAT_VERSION}, safetensors ({', '.join(sorted(dtypes))})",
        "model": to_dict(config),
        "frames_per_second": SAMPLE_RATE / frame_stride(config.strides),
        "parameters": {**parameters, "total": parameters.total()},
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    state = folder / STATE_FILE
    if state.is_file():
        facts["update"] = json.loads(state.read_text(encoding="utf-8"))["update"]
    return facts
