"""What heads say of a clip: of its windows as frames come, so that long audio is never held, and of the whole clip.

T: frames. W: windows. D: model width. L: layers. P: channels of what is pooled over time. K: labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.extraction.encode.arrays import Arrays, EncodedAudio, FeatureArray
from emotion2vec.extraction.scoring import Scorer, read_by
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.serve.messages import WHOLE


class Heads:
    """The heads of a model, on features as they ask for them.

    Args:
        model: whose heads they are.
        window: in s; None for whole clips.
        whole: whether the whole clip is asked for beside windows.

    Attributes:
        choice: the features that are read.
        seconds: length of a window in s; None for whole clips.
    """

    def __init__(self, model: SpeechEncoder, window: float | None, whole: bool):
        heads, width, stride = model.heads(), model.config.width, model.config.grid.stride
        labels = {name: head.used_labels for name, head in heads.items()}
        step = None if window is None else max(1, round(window * SAMPLE_RATE / stride))
        self.choice = choice = read_by(list(heads.values()), width, step)
        self._windows = Scorer(model, choice, step, labels)
        self.seconds = self._windows.seconds
        self._step = 1 if choice.downsample > 1 else step
        self._whole: Scorer | None = None
        if step is not None and whole:
            of_clip = read_by(list(heads.values()), width, None)
            self._whole = Scorer(model, of_clip, None, labels)
            if of_clip.granularity == "utterance":
                self.choice = replace(choice, granularity="both", pooling=of_clip.pooling)
            else:
                self._step = None  # they read all frames at once

    def __call__(self, arrays: Arrays) -> Arrays:
        """Probabilities (W, K) by each head, and (1, K) of the whole clip by `WHOLE` and each head.

        Args:
            arrays: `frames` ([L,] T, D) or ([L,] W, D), `utterance` ([L,] P), or both, as `choice` has them.

        Raises:
            FloatingPointError: they are not finite.
        """
        first, *rest = arrays.values()
        parts = [first.whole()] if self._step is None else _in_windows(first.parts, self._step)
        said: dict[str, list[np.ndarray]] = {}
        for part in parts:
            found = self._scored(self._windows, part)
            if self._whole is not None and not rest:
                found |= _named(self._scored(self._whole, part))
            for name, rows in found.items():
                said.setdefault(name, []).append(rows)
        scores = {name: np.concatenate(rows) for name, rows in said.items()}
        if self._whole is not None and rest:
            scores |= _named(self._scored(self._whole, rest[0].whole()))
        return {name: FeatureArray.of(rows) for name, rows in scores.items()}

    def _scored(self, scorer: Scorer, features: np.ndarray) -> dict[str, np.ndarray]:
        check_finite(features)
        return scorer(EncodedAudio(0, {"features": FeatureArray.of(features)}))


def check_finite(features: np.ndarray) -> None:
    """Check that features are numbers.

    Raises:
        FloatingPointError: some are not.
    """
    if not np.isfinite(features).all():
        raise FloatingPointError("not finite")


def _named(said: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {f"{WHOLE}{name}": rows for name, rows in said.items()}


def _in_windows(parts: Iterable[np.ndarray], step: int) -> Iterator[np.ndarray]:
    """Vectors ([L,] t, D) in pieces of whole windows of so many, and what is left."""
    waiting: list[np.ndarray] = []
    count = 0
    for part in parts:
        waiting.append(part)
        count += part.shape[-2]
        if count >= step:
            joined, whole = np.concatenate(waiting, axis=-2), count // step * step
            yield joined[..., :whole, :]
            waiting, count = [joined[..., whole:, :].copy()], count - whole
    if count:
        yield np.concatenate(waiting, axis=-2)
