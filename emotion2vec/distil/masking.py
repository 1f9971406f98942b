"""Masks that hide loud frames from the student (Vesper; Chen et al., 2023).

B: clips. S: samples. T: frames.
"""

from __future__ import annotations

import numpy as np

from emotion2vec.distil.config import LoudMaskConfig


def levels(waveforms: np.ndarray, frames: int, stride: int) -> np.ndarray:
    """Root mean square (B, T) of the stride of samples from each frame's place on, of waveforms (B, S)."""
    power = np.zeros((len(waveforms), frames * stride))
    known = waveforms[:, : frames * stride]
    power[:, : known.shape[1]] = np.square(known, dtype=np.float64)
    found: np.ndarray = np.sqrt(power.reshape(len(waveforms), frames, stride).mean(axis=2))
    return found


def masked_frames(frames: int, share: float) -> int:
    """Frames that are masked of so many, at least one."""
    return max(1, int(frames * share))


def loud_mask(level: np.ndarray, span: int, config: LoudMaskConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw a mask (T,), True = masked, of spans that start where it is loud or moderately loud, by turns.

    Spans are laid until exactly int(share · T) frames are masked; where loud places run out, others follow. Vesper lays
    as many spans as would fill that share and lets some overlap; an exact number makes losses means over what is known
    beforehand, on any number of devices.

    Args:
        level: (T,) of each frame.
        span: frames per span.
        config: share, and what counts as loud.
        rng: draws the places.
    """
    frames = len(level)
    target, top = masked_frames(frames, config.share), level.max()
    loud, moderate = level >= config.loud * top, level >= config.moderate * top
    groups = [np.flatnonzero(group) for group in (loud, moderate & ~loud, ~moderate & ~loud)]
    shuffled = [rng.permutation(group) for group in groups]
    pairs = min(len(shuffled[0]), len(shuffled[1]))
    by_turns = np.stack([shuffled[0][:pairs], shuffled[1][:pairs]], axis=1).reshape(-1)
    starts = np.concatenate([by_turns, shuffled[0][pairs:], shuffled[1][pairs:], shuffled[2]])
    mask, left = np.zeros(frames, dtype=bool), target
    for start in starts.tolist():
        free = np.flatnonzero(~mask[start : start + span])[:left] + start
        mask[free] = True
        left -= len(free)
        if not left:
            break
    return mask
