"""Write a fairseq checkpoint of data2vec 2.0 audio: plain containers and tensors, no class of anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.checkpoint.formats.data2vec import model_settings
from emotion2vec.checkpoint.formats.fairseq import HEAD_KEY
from emotion2vec.checkpoint.formats.names import state_to_fairseq
from emotion2vec.checkpoint.source import Source
from emotion2vec.files import complete_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


def write_fairseq(source: Source, path: Path) -> list[str]:
    """Write `source` as a fairseq `.pt` that `data2vec_multi` loads: student, decoder, and teacher under `_ema`.

    Returns:
        What a user should know about what was left out.
    """
    import torch

    head, encoder = split_head(source.student)
    model: dict[str, Any] = plain_tensors(state_to_fairseq(encoder | decoder_names(source.decoder)))
    if source.teacher:
        model["_ema"] = plain_tensors(state_to_fairseq(source.teacher), float32=True)
    state: dict[str, Any] = {
        "args": None,
        "cfg": {
            "model": {"_name": "data2vec_multi", **model_settings(source)},
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
    with complete_file(path) as partial:
        torch.save(state, partial)
    return ["fairseq's data2vec 2.0 has no head: it is kept in the file, and fairseq ignores it"] if head else []


def split_head(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part weights of `Emotion2vec` into those of the head and all others."""
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    return head, {name: value for name, value in weights.items() if name not in head}


def decoder_names(decoder: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's weights under the prefix that keeps them apart from the encoder's."""
    return {f"decoder.{name}": value for name, value in decoder.items()}


def plain_tensors(weights: Mapping[str, Tensor], *, float32: bool = False) -> dict[str, Tensor]:
    """Weights on the CPU that share no memory, since a saved view would bring all of its storage along."""
    import torch

    return {
        name: value.detach().to("cpu", torch.float32 if float32 else value.dtype, copy=True).contiguous()
        for name, value in weights.items()
    }
