"""Instruments read now and then: speed, utilization, memory, and the ranks of features.

B: utterances. T: frames. C: CNN channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emotion2vec.audio import frame_count
from emotion2vec.config import PretrainConfig
from emotion2vec.data.batches import MicroBatch
from emotion2vec.devices import peak_memory
from emotion2vec.training.metrics import UpdateSize, UtteranceCovariance, channel_std, effective_rank
from emotion2vec.training.work import measure_peak, utterance_flops

if TYPE_CHECKING:
    from lightning.fabric import Fabric

_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16, "32-true": torch.float32}


class Instruments:
    """Measures what a log line shows beside losses; reading them makes the host wait for the device."""

    def __init__(self, config: PretrainConfig, fabric: Fabric):
        self.config = config
        self.fabric = fabric

    @cached_property
    def peak(self) -> float:
        """Operations per second of one device's matrix products in the compute precision, measured once."""
        precision = str(getattr(self.fabric.strategy.precision, "precision", "32-true"))
        return measure_peak(self.fabric.device, _DTYPES[precision])

    def features(self, cnn: Tensor, covariance: UtteranceCovariance) -> dict[str, float]:
        """Effective ranks of CNN output (B, T, C) and utterance embeddings, and the CNN output's deviation."""
        return {"cnn_rank": effective_rank(cnn), "cnn_std": channel_std(cnn), "utterance_rank": covariance.rank()}

    def speed(
        self, size: UpdateSize, micro_batches: Sequence[MicroBatch], seconds: float, waited: float
    ) -> dict[str, float]:
        """Audio per second over all processes, and this one's utilization, memory and wait for data."""
        return {
            "seconds": seconds,
            "data_wait": waited / seconds,
            "audio_seconds_per_second": size.seconds / seconds,
            "mfu": sum(self._flops(batch) for batch in micro_batches) / seconds / self.peak,
            "memory_gb": peak_memory(self.fabric.device) / 1e9,
        }

    def _flops(self, batch: MicroBatch) -> float:
        samples = batch.waveforms.shape[1]
        frames = frame_count(samples, self.config.model.kernels, self.config.model.strides)
        return len(batch.ids) * sum(utterance_flops(self.config, samples, frames).values())
