"""The teacher: any model that can be loaded, frozen, and no part of what is trained or saved.

B: clips. S: samples. T: the teacher's frames. D: its width. L: layers that are learnt. K: classes of its head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emotion2vec.checkpoint.opening import build_model, read_source
from emotion2vec.checkpoint.source import Source
from emotion2vec.model.cpu.packing import Packable, can_pack
from emotion2vec.model.fingerprint import weights_hash


@dataclass(frozen=True)
class Taught:
    """What the teacher says of some clips.

    Attributes:
        layers: (L, B, T, D) outputs of its chosen blocks.
        scores: (B, K) of its head, or None.
    """

    layers: Tensor
    scores: Tensor | None


class Teacher:
    """A frozen model, cut above the highest layer that is learnt unless its head is.

    Args:
        name: what `load_model` takes.
        layers: blocks whose outputs are learnt, counted from 1.
        device: where it computes.
        dtype: of its products.
        soft: whether the outputs of its head are learnt too.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: it has fewer blocks, or is on a hub whose client is not installed.
    """

    def __init__(self, name: str, layers: Sequence[int], device: torch.device, dtype: torch.dtype, *, soft: bool):
        self.name = name
        self.layers = sorted(set(layers))
        source = read_source(name)
        self.depth = source.config.prenet_depth + source.config.depth
        model = build_model(source if soft else cut_above(source, self.layers[-1]), device=str(device))
        self.model = model.requires_grad_(False)
        self.config = model.config
        self.heard = source.heard
        self.fingerprint = weights_hash(model)
        self.device, self.dtype = device, dtype
        self.labels: list[str] = model.head.used_labels if soft and model.head is not None else []
        if dtype == torch.float32 and can_pack(device, dtype):
            for module in model.modules():
                if isinstance(module, Packable):
                    module.pack(dtype)

    @torch.inference_mode()
    def __call__(self, waveforms: Tensor, padding: Tensor | None = None) -> Taught:
        """What it says of waveforms (B, S), normalized where its configuration says so, with their padding (B, S)."""
        mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype if mixed else None, enabled=mixed):
            encoded = self.model(waveforms, padding)
            scores = self.model.scores(encoded)[:, self._used()].float() if self.labels else None  # (B, K)
        return Taught(torch.stack([encoded.layers[layer - 1] for layer in self.layers]).float(), scores)

    def _used(self) -> list[int]:
        assert self.model.head is not None
        return [self.model.head.labels.index(label) for label in self.labels]


def cut_above(source: Source, layer: int) -> Source:
    """A checkpoint without what a layer, counted from 1, does not depend on."""
    kept = max(layer, source.config.prenet_depth + 1)
    return source.cut(kept) if kept < source.config.prenet_depth + source.config.depth else source
