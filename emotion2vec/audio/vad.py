"""Voice activity: a recording in, the stretches with speech out, found by Silero VAD's network in onnxruntime.

S: samples at 16 kHz. F: frames of the detector (32 ms).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import not_finite
from emotion2vec.errors import AudioError, ConfigError

FRAME, CONTEXT, STATE = 512, 64, 128
"""Samples of a frame and before it, and the size of its state, as the network has them."""

FRAMES_AT_ONCE = 512
"""Frames that the network gets in one call: 16 s, so that memory does not grow with the recording."""


class SpeechDetector:
    """Silero VAD (Silero Team) with its default thresholds. One object may be used by several threads.

    Raises:
        ConfigError: a package is missing.
    """

    def __init__(self) -> None:
        from importlib.util import find_spec

        missing = [package for package in ("silero_vad", "onnxruntime") if find_spec(package) is None]
        if missing:
            raise ConfigError(f"segments vad needs {' and '.join(missing)}: pip install 'emotion2vec[vad]'")
        import torch

        threads = torch.get_num_threads()
        try:  # importing silero_vad leaves PyTorch with a single thread
            from silero_vad import get_speech_timestamps_from_probs, load_silero_vad
        finally:
            torch.set_num_threads(threads)
        self._session: Any = load_silero_vad(sequence=True).session
        self._timestamps = get_speech_timestamps_from_probs

    def regions(self, blocks: Iterable[np.ndarray]) -> list[tuple[float, float]]:
        """Find the stretches with speech in a recording that comes in blocks (S,): start and end of each, in s.

        Raises:
            AudioError: the recording cannot be decoded, or has samples that are not finite.
        """
        probabilities: list[np.ndarray] = []
        state = [np.zeros((1, 1, STATE), np.float32)] * 2
        context, total = np.zeros(CONTEXT, np.float32), 0
        for samples in _pieces(blocks):
            total += samples.size
            frames = np.pad(samples, (0, -samples.size % FRAME)).reshape(-1, FRAME)  # (F, 512)
            before = np.concatenate([context[None], frames[:-1, -CONTEXT:]])  # (F, 64)
            inputs = {"input": np.concatenate([before, frames], axis=1), "h": state[0], "c": state[1]}
            found, *state = self._session.run(["speech_probs", "hn", "cn"], inputs)
            probabilities.append(found.reshape(-1))
            context = frames[-1, -CONTEXT:]
        if not probabilities:
            return []
        spans = self._timestamps(np.concatenate(probabilities), audio_length_samples=total)
        return [(span["start"] / SAMPLE_RATE, span["end"] / SAMPLE_RATE) for span in spans]


def _pieces(blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Cut a stream of blocks (S,) anew, into whole frames; only the last piece may end within one.

    Raises:
        AudioError: samples are not finite; known when all of them were seen.
    """
    held, size = np.zeros(0, np.float32), FRAME * FRAMES_AT_ONCE
    bad = total = 0
    for block in blocks:
        bad, total = bad + int(np.count_nonzero(~np.isfinite(block))), total + block.size
        if bad:  # only counted from here on
            continue
        held = np.concatenate([held, block])
        while held.size >= size:
            yield held[:size]
            held = held[size:]
    if bad:
        raise AudioError(not_finite(bad, total))
    if held.size:
        yield held
