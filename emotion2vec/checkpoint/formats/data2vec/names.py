"""Names of weights: ours, and those of fairseq's data2vec 2.0 (which emotion2vec's released files share).

This is the one place that knows both. Ours are those of `Emotion2vec` (front end, backbone and head) and, under
`decoder.`, of `Decoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Pair:
    """One weight, or one of every layer: `{i}` stands for the layer's number, `{p}` for weight or bias.

    Attributes:
        theirs: fairseq's name.
        ours: our name.
        first: number that fairseq gives the first layer; ours is 0.
    """

    theirs: str
    ours: str
    first: int = 0


_PAIRS = [
    _Pair(_AUDIO + "alibi_scale", "backbone.alibi_scale"),
    _Pair(_AUDIO + "extra_tokens", "backbone.tokens"),
    _Pair(_AUDIO + "local_encoder.conv_layers.{i}.0.weight", "frontend.layers.{i}.weight"),
    _Pair(_AUDIO + "local_encoder.conv_layers.{i}.2.1.{p}", "frontend.layers.{i}.norm.{p}"),
    _Pair(_AUDIO + "project_features.1.{p}", "frontend.norm.{p}"),
    _Pair(_AUDIO + "project_features.2.{p}", "frontend.projection.{p}"),
    _Pair(_AUDIO + "relative_positional_encoder.{i}.0.{p}", "backbone.positions.convs.{i}.{p}", first=1),
    _Pair(_AUDIO + "context_encoder.norm.{p}", "backbone.prenet_norm.{p}"),
    _Pair(_AUDIO + "decoder.blocks.{i}.0.{p}", "decoder.convs.{i}.{p}"),
    _Pair(_AUDIO + "decoder.proj.{p}", "decoder.proj.{p}"),
    _Pair("proj.{p}", "head.{p}"),
    *(
        _Pair(prefix + "blocks.{i}." + theirs + ".{p}", own + ".{i}." + ours + ".{p}")
        for prefix, own in ((_AUDIO + "context_encoder.", "backbone.prenet"), ("", "backbone.blocks"))
        for theirs, ours in _BLOCK.items()
    ),
]


def _pattern(template: str) -> re.Pattern[str]:
    escaped = re.escape(template).replace(r"\{i\}", r"(?P<i>\d+)").replace(r"\{p\}", "(?P<p>weight|bias)")
    return re.compile(escaped)


_FROM_FAIRSEQ = [(_pattern(pair.theirs), pair.ours, -pair.first) for pair in _PAIRS]
_TO_FAIRSEQ = [(_pattern(pair.ours), pair.theirs, pair.first) for pair in _PAIRS]


def from_fairseq(name: str) -> str | None:
    """Our name of a weight that fairseq calls `name`; None for a weight that we do not know."""
    return _translate(name, _FROM_FAIRSEQ)


def to_fairseq(name: str) -> str | None:
    """Fairseq's name of a weight that we call `name`; None for a weight that fairseq does not have."""
    return _translate(name, _TO_FAIRSEQ)


def _translate(name: str, rules: list[tuple[re.Pattern[str], str, int]]) -> str | None:
    for pattern, template, shift in rules:
        if match := pattern.fullmatch(name):
            found = match.groupdict()
            number = int(found["i"]) + shift if "i" in found else 0
            return template.format(i=number, p=found.get("p")) if number >= 0 else None
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


def state_to_fairseq(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename our weights to fairseq's, with the leading dimensions that it keeps on tokens and ALiBi scale.

    Raises:
        CheckpointError: names that fairseq's data2vec 2.0 audio does not have, all listed.
    """
    unknown = [name for name in state if to_fairseq(name) is None]
    if unknown:
        raise CheckpointError(f"weights that data2vec 2.0 audio does not have: {', '.join(sorted(unknown))}")
    renamed = {str(to_fairseq(name)): value for name, value in state.items()}
    if _AUDIO + "extra_tokens" in renamed:
        renamed[_AUDIO + "extra_tokens"] = renamed[_AUDIO + "extra_tokens"].unsqueeze(0)  # (N, D) -> (1, N, D)
    if _AUDIO + "alibi_scale" in renamed:
        scale = renamed[_AUDIO + "alibi_scale"]
        renamed[_AUDIO + "alibi_scale"] = scale.view(1, 1, -1, 1, 1)  # (H,) -> (1, 1, H, 1, 1)
    return renamed
