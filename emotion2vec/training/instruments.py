"""Instruments read now and then: speed, utilization, memory."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from emotion2vec.devices import is_host, peak_memory
from emotion2vec.hardware import best_rate, bf16_gain
from emotion2vec.training.computing import compute_dtype

if TYPE_CHECKING:
    from lightning.fabric import Fabric

logger = logging.getLogger(__name__)


PEAKS: dict[tuple[torch.device, torch.dtype, int], float] = {}
"""Peaks of devices in a dtype with so many threads, as this process measured them: folds and trials share them."""


class Instruments:
    """Measures what a log line shows beside losses; reading them makes the host wait for the device."""

    def __init__(self, fabric: Fabric):
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
        """Operations per second of this device's products in the compute precision; measured anew when asked again."""
        device, dtype = self.fabric.device, compute_dtype(self.fabric)
        key = device, dtype, torch.get_num_threads()
        if self._peak or key not in PEAKS:
            PEAKS[key] = max(self._peak, self._measured(device, dtype))
        return PEAKS[key]

    def _measured(self, device: torch.device, dtype: torch.dtype) -> float:
        """The peak of products in a dtype."""
        native = dtype == torch.float32 or (dtype == torch.bfloat16 and bf16_gain(device) >= 1)
        size = 8192 if not is_host(device) else 1024 if native else 256  # what is emulated takes long
        return best_rate(device, dtype, size)

    def speed(self, audio: float, flops: float, seconds: float, waited: float) -> dict[str, float]:
        """What an update says of speed.

        Args:
            audio: what it held over all processes, in s.
            flops: operations of this process.
            seconds: time that it took.
            waited: time of that for which this process waited for data.
        """
        return {
            "seconds": seconds,
            "data_wait": waited / seconds,
            "audio_seconds_per_second": audio / seconds,
            "mfu": self.utilization(flops, seconds),
            "memory_gb": peak_memory(self.fabric.device) / 1e9,
        }
