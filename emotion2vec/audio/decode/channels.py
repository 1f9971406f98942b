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

    def add(self, block: np.ndarray) -> np.ndarray:
        """Hear a block (S, C), and return the mean of its channels (S,); stretches end with it."""
        # What is not finite is found and reported elsewhere; a stretch with it says nothing about the channels.
        with np.errstate(all="ignore"):
            mean = mixed(block, None)
            energies = np.stack([self._energies(block[:, channel]) for channel in range(block.shape[1])])  # (C, W)
            kept = self._energies(mean)  # (W,)
        finite = np.isfinite(energies).all(axis=0) & np.isfinite(kept)
        energies, kept = energies[:, finite], kept[finite]
        energy = energies.mean(axis=0)
        self._by_channel = self._by_channel + energies.sum(axis=1)
        self._total += float(energy.sum())
        self._cancelled += float(energy[kept < energy * 10 ** (-CANCELLED_DB / 10)].sum())
        return mean

    def _energies(self, samples: np.ndarray) -> np.ndarray:
        """Energy of every stretch (W,) of one channel (S,), without its offset; the last stretch may be short."""
        whole = samples.size // self._stretch * self._stretch
        stretches = [np.ascontiguousarray(samples[:whole]).reshape(-1, self._stretch)] if whole else []  # (W, S)
        if whole < samples.size:
            stretches.append(samples[None, whole:])
        found = []
        for rows in stretches:
            centered = rows - rows.mean(axis=1, keepdims=True)
            found.append(np.einsum("ws,ws->w", centered, centered))
        return np.concatenate([np.zeros(0), *found])

    def louder(self) -> int | None:
        """The channel with most energy where the channels cancel each other; None where their mean is to be taken."""
        if self._total == 0 or self._cancelled < CANCELLED_SHARE * self._total:
            return None
        return int(np.argmax(self._by_channel))


def no_channel(wanted: int, channels: int) -> str:
    """What is said of audio with so many channels that lacks one."""
    there = "one, which is 0" if channels == 1 else f"0 to {channels - 1}"
    return f"no such channel: {wanted} is asked for, and it has {there}"


def mixed(block: np.ndarray, channel: int | None) -> np.ndarray:
    """One channel of a block (S, C), or the mean of all, (S,)."""
    if channel is not None:
        return block[:, channel]
    total = block[:, 0].copy()  # adding columns is several times faster than `mean` over a few of them
    for other in range(1, block.shape[1]):
        total += block[:, other]
    total /= block.shape[1]
    return total
