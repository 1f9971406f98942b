"""Waveforms to padded, normalized batches, as transformers' feature extractors do.

B: utterances. S: samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import load_audio, normalize


class Emotion2vecFeatureExtractor(SequenceFeatureExtractor):
    """Resamples to 16 kHz mono, normalizes every utterance over its own samples if asked to, and pads at the end."""

    model_input_names = ["input_values", "attention_mask"]  # noqa: RUF012 (a class attribute of transformers)

    def __init__(
        self,
        feature_size: int = 1,
        sampling_rate: int = SAMPLE_RATE,
        padding_value: float = 0.0,
        return_attention_mask: bool = True,
        do_normalize: bool = True,
        **kwargs: Any,
    ):
        self.do_normalize = do_normalize
        self.return_attention_mask = return_attention_mask
        super().__init__(feature_size, sampling_rate, padding_value, **kwargs)

    def __call__(
        self,
        raw_speech: np.ndarray | Sequence[Any],
        sampling_rate: int | None = None,
        *,
        padding: bool | str = True,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare one utterance or several.

        Args:
            raw_speech: samples (S,) or (C, S), or a list of such arrays.
            sampling_rate: their rate in Hz, 16,000 unless given.
            padding: as in transformers: to the longest by default.
            return_tensors: `pt` or `np`; lists otherwise.
            kwargs: passed on to `SequenceFeatureExtractor.pad`.

        Returns:
            `input_values` (B, S) and `attention_mask` (B, S), 1 = real samples.

        Raises:
            AudioError: audio that cannot be used.
        """
        single = hasattr(raw_speech, "ndim") or (len(raw_speech) > 0 and isinstance(raw_speech[0], float | int))
        clips = [np.asarray(raw_speech)] if single else list(raw_speech)
        rate = sampling_rate or self.sampling_rate
        values = [load_audio(np.asarray(clip, dtype=np.float32), rate) for clip in clips]
        if self.do_normalize:
            values = [normalize(value) for value in values]
        return self.pad({"input_values": values}, padding=padding, return_tensors=return_tensors, **kwargs)
