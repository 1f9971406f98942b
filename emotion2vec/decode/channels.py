"""Several channels -> one: their mean, unless they cancel each other.

S: samples. C: channels. W: stretches of half a second.
"""

from __future__ import annotations

import numpy as np

CANCELLED_DB = 20.0
"""Energy that the mean of channels loses against them, in dB, from which on they count as cancelling each other.
Channels that have nothing to do with each other lose 3 dB, eight of them 9 dB."""

CANCELLED_SHARE = 0.1
"""Share of the energy in cancelled stretches from which on the mean is not taken."""

STRETCH_SECONDS = 0.5
"""Length of a stretch, in s."""


class ChannelMeter:
    """Hears blocks of all channels, and tells whether their mean can be taken.

    Energy is variance within a stretch, so that a constant offset neither hides nor feigns sound.

    Args:
        rate: samples per second.
    """

    def __init__(self, rate: float):
        self._stretch = max(1, round(STRETCH_SECONDS * rate))
        self._total = self._cancelled = 0.0
        self._by_channel: np.ndarray | float = 0.0

    def add(self, block: np.ndarray) -> None:
        """Hear a block (S, C); stretches end with it."""
        whole = len(block) // self._stretch * self._stretch
        if whole:
            self._measure(block[:whole].reshape(-1, self._stretch, block.shape[1]))  # (W, S, C)
        if whole < len(block):
            self._measure(block[None, whole:])

    def _measure(self, stretches: np.ndarray) -> None:
        length = stretches.shape[1]
        # What is not finite is found and reported elsewhere.
        with np.errstate(all="ignore"):
            by_channel = np.nan_to_num(stretches.var(axis=1, dtype=np.float64), posinf=0.0) * length  # (W, C)
            mixed = np.nan_to_num(stretches.mean(axis=2).var(axis=1, dtype=np.float64), posinf=0.0) * length  # (W,)
        energy = by_channel.mean(axis=1)
        self._by_channel = self._by_channel + by_channel.sum(axis=0)
        self._total += float(energy.sum())
        self._cancelled += float(energy[mixed < energy * 10 ** (-CANCELLED_DB / 10)].sum())

    def louder(self) -> int | None:
        """The channel with most energy where the channels cancel each other; None where their mean is to be taken."""
        if self._total == 0 or self._cancelled < CANCELLED_SHARE * self._total:
            return None
        return int(np.argmax(self._by_channel))


def mixed(block: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel of a block (S, C), or the mean of all, (S,)."""
    mono: np.ndarray = block.mean(axis=1) if channel is None else block[:, channel]
    return mono
