"""Clips that are held in memory whole. S: samples."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from emotion2vec.audio.samples import normalize
from emotion2vec.data.cuts import load_cut
from emotion2vec.errors import AudioError

if TYPE_CHECKING:
    from lhotse.cut import Cut

DECODERS = 4
"""Threads that decode."""

TOGETHER = 256
"""Clips that are in memory at the same time, where not all have to be."""


def decoded(cuts: Sequence[Cut], *, normalizes: bool) -> list[np.ndarray | AudioError]:
    """Waveforms (S,) of cuts as an encoder wants to hear them, or why there are none."""

    def decode(cut: Cut) -> np.ndarray | AudioError:
        try:
            waveform = load_cut(cut)
        except AudioError as error:
            return error
        return normalize(waveform) if normalizes else waveform

    with ThreadPoolExecutor(DECODERS) as pool:
        return list(pool.map(decode, cuts))
