"""Names of weights: ours, and those of fairseq's data2vec 2.0 (which emotion2vec's released files share).

This is the one place that knows both. Ours are those of `Emotion2vec` (front end and backbone) and, under `decoder.`,
of `Decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from emotion2vec.errors import CheckpointError

_AUDIO = "modality_encoders.AUDIO."

_BLOCK = {
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.proj",
    "norm1": "norm1",
    "mlp.fc1": "fc1",
    "mlp.fc2": "fc2",
    "norm2": "norm2",
}

# (pattern of fairseq's name, our name); groups carry layer numbers and the parameter's kind over.
_RULES = [
    (rf"{_AUDIO}alibi_scale", r"backbone.alibi_scale"),
    (rf"{_AUDIO}extra_tokens", r"backbone.tokens"),
    (rf"{_AUDIO}local_encoder\.conv_layers\.(\d+)\.0\.weight", r"frontend.layers.\1.weight"),
    (rf"{_AUDIO}local_encoder\.conv_layers\.(\d+)\.2\.1\.(weight|bias)", r"frontend.layers.\1.norm.\2"),
    (rf"{_AUDIO}project_features\.1\.(weight|bias)", r"frontend.norm.\1"),
    (rf"{_AUDIO}project_features\.2\.(weight|bias)", r"frontend.projection.\1"),
    (rf"{_AUDIO}context_encoder\.norm\.(weight|bias)", r"backbone.prenet_norm.\1"),
    (rf"{_AUDIO}decoder\.blocks\.(\d+)\.0\.(weight|bias)", r"decoder.convs.\1.\2"),
    (rf"{_AUDIO}decoder\.proj\.(weight|bias)", r"decoder.proj.\1"),
    *(
        (rf"{prefix}blocks\.(\d+)\.{re.escape(theirs)}\.(weight|bias)", rf"backbone.{own}.\1.{ours}.\2")
        for prefix, own in ((rf"{_AUDIO}context_encoder\.", "prenet"), ("", "blocks"))
        for theirs, ours in _BLOCK.items()
    ),
]
_PATTERNS = [(re.compile(pattern), name) for pattern, name in _RULES]
# fairseq numbers the positional convolutions from 1.
_POSITIONS = re.compile(rf"{_AUDIO}relative_positional_encoder\.(\d+)\.0\.(weight|bias)")


def from_fairseq(name: str) -> str | None:
    """Our name of a weight that fairseq calls `name`; None for a weight that we do not know."""
    if match := _POSITIONS.fullmatch(name):
        return f"backbone.positions.convs.{int(match[1]) - 1}.{match[2]}"
    for pattern, ours in _PATTERNS:
        if match := pattern.fullmatch(name):
            return match.expand(ours)
    return None


def state_from_fairseq(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename fairseq's weights to ours, and drop the leading dimensions that it keeps on tokens and ALiBi scale.

    Raises:
        CheckpointError: names that are not data2vec 2.0 audio's, all listed.
    """
    unknown = [name for name in state if from_fairseq(name) is None]
    if unknown:
        raise CheckpointError(f"weights that data2vec 2.0 audio does not have: {', '.join(sorted(unknown))}")
    renamed = {str(from_fairseq(name)): value for name, value in state.items()}
    if "backbone.tokens" in renamed:
        renamed["backbone.tokens"] = renamed["backbone.tokens"].squeeze(0)  # (1, N, D) -> (N, D)
    if "backbone.alibi_scale" in renamed:
        renamed["backbone.alibi_scale"] = renamed["backbone.alibi_scale"].flatten()  # (1, 1, H, 1, 1) -> (H,)
    return renamed
