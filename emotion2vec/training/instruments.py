"""Instruments read now and then: speed, utilization, memory, and the ranks of features.

B: utterances. T: frames. C: CNN channels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from emotion2vec.audio.frames import frame_count
from emotion2vec.data.batches import MicroBatch
from emotion2vec.devices import is_host, peak_memory
from emotion2vec.hardware import best_rate, bf16_gain
from emotion2vec.pretrain.config import PretrainConfig
from emotion2vec.training.computing import compute_dtype
from emotion2vec.training.metrics import UpdateSize, UtteranceCovariance, channel_std, effective_rank
from emotion2vec.training.work import utterance_flops

if TYPE_CHECKING:
    from lightning.fabric import Fabric

logger = logging.getLogger(__name__)


class Instruments:
    """Measures what a log line shows beside losses; reading them makes the host wait for the device."""

    def __init__(self, config: PretrainConfig, fabric: Fabric):
        self.config = config
        self.fabric = fabric
        self._peak = 0.0
        self._settled = False

    def utilization(self, flops: float, seconds: float) -> float:
        """Share of the peak of this device's matrix products that so many operations in so many seconds are.

        The peak is measured once, and once more where the share says that it was measured too low.
        """
        self._peak = self._peak or self._measure_peak()
        share = flops / seconds / self._peak
        if share > 1 and not self._settled:
            self._settled = True
            self._peak = max(self._peak, self._measure_peak())
            share = flops / seconds / self._peak
            if share > 1:
                rate = self._peak / 1e9
                logger.warning("mfu is %.2f: the peak of products, measured at %.0f GFLOP/s, is too low", share, rate)
        return share

    def _measure_peak(self) -> float:
        """Operations per second of this device's products in the compute precision."""
        device, dtype = self.fabric.device, compute_dtype(self.fabric)
        native = dtype == torch.float32 or (dtype == torch.bfloat16 and bf16_gain(device) >= 1)
        size = 8192 if not is_host(device) else 1024 if native else 256  # what is emulated takes long
        return best_rate(device, dtype, size)

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
            "mfu": self.utilization(sum(self._flops(batch) for batch in micro_batches), seconds),
            "memory_gb": peak_memory(self.fabric.device) / 1e9,
        }

    def _flops(self, batch: MicroBatch) -> float:
        samples = batch.waveforms.shape[1]
        frames = frame_count(samples, self.config.model.kernels, self.config.model.strides)
        return len(batch.ids) * sum(utterance_flops(self.config, samples, frames).values())
