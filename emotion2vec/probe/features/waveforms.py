"""Features that are a function of the waveform: spectra, and functionals such as eGeMAPS.

P: channels of a clip's vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from emotion2vec.audio import spectral
from emotion2vec.checkpoint.heard import Heard
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import AudioError
from emotion2vec.probe.features.extractor import ClipFeatures, pool
from emotion2vec.processors import default_workers

SPECTRA = {"logmel": spectral.log_mel, "mfcc": spectral.mfcc}
"""Functions from waveforms (S,) to frames (T, D), by the feature's name."""


class WaveformExtractor:
    """A function of the waveform, run on several clips at a time; the clip's vector is also its only frame.

    The neural heads see the statistics too, for they are the stronger baseline: what a head makes of single spectra of
    25 ms, averaged over time, scores lower.
    """

    reads = ("audio",)
    heard = Heard()
    """Nothing: it was not trained."""

    def __init__(self, name: str, compute: Callable[[np.ndarray], np.ndarray], settings: str):
        self.name = name
        self.fingerprint = f"{name} {settings}"
        self._compute = compute

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        """Extract clips; see `Extractor`."""
        with ThreadPoolExecutor(default_workers()) as pool:
            return list(pool.map(self._extract_one, clips))

    def _extract_one(self, clip: Utterance) -> ClipFeatures | str:
        try:
            vector = self._compute(clip.load())  # (P,)
        except AudioError as error:
            return str(error)
        return ClipFeatures(vector, vector[None]) if np.isfinite(vector).all() else "its features are not finite"


def spectrum(name: str, pooling: str | None) -> WaveformExtractor:
    """The extractor of one of `SPECTRA`, over time as `pool` says; by default mean and standard deviation."""
    frames_of, how = SPECTRA[name], pooling or "mean+std"
    return WaveformExtractor(name, lambda waveform: pool(frames_of(waveform), how), how)
