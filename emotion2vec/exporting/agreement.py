"""Whether a written graph computes what its model computes, found by running both.

B: utterances. S: samples of the longest. T: frames of the longest. D: model width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from emotion2vec.audio.frames import SAMPLE_RATE
from emotion2vec.audio.samples import normalize
from emotion2vec.errors import CheckpointError
from emotion2vec.exporting.network import FRAMES, SCORES, TOKENS, NetworkPath, WholePath
from emotion2vec.model.encoder import Emotion2vec

TOLERANCE = 1e-4
"""Largest difference between a graph's outputs and the model's, relative to the largest of an output above 1."""

INT8_COSINE = 0.99
"""Lowest cosine of a frame or an utterance of a graph with weights in int8 to the model's."""

CHECKED_SECONDS = ((0.05,), (1.0,), (3.3,), (10.0,), (0.7, 2.2, 1.4))
"""Lengths of the batches, in s, that a written graph is compared with the model on."""

Graph = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""A written graph, ready to run: waveforms (B, S) float32 and lengths (B,) int64 in, outputs by name out."""


class Agreement(NamedTuple):
    """How near a graph comes to its model.

    Attributes:
        difference: the largest difference of any output, see `TOLERANCE`; infinite when one is not finite or has a
            wrong shape.
        cosine: the lowest cosine of a frame or an utterance to the model's.
    """

    difference: float
    cosine: float


def check(model: Emotion2vec, graph: Graph, kind: type[NetworkPath] = WholePath, *, int8: bool = False) -> Agreement:
    """Compare a written graph with the model.

    Raises:
        CheckpointError: they differ.
    """
    agreement = compare(model, graph, kind)
    if int8 and not agreement.cosine >= INT8_COSINE:
        raise CheckpointError(
            f"the lowest cosine of the graph's features to the model's is {agreement.cosine:.4f}, expected at least "
            f"{INT8_COSINE}; nothing was kept"
        )
    if not int8 and not agreement.difference <= TOLERANCE:
        raise CheckpointError(
            f"the graph's outputs differ from the model's by {agreement.difference:.1e}, expected at most "
            f"{TOLERANCE:.0e}; nothing was kept"
        )
    return agreement


def compare(model: Emotion2vec, graph: Graph, kind: type[NetworkPath] = WholePath) -> Agreement:
    """Compare a graph with what the model itself extracts, on noise in bursts of several lengths."""
    found = [agreement for waveforms in _check_batches() for agreement in _agreements(model, graph, kind, waveforms)]
    return Agreement(max(one.difference for one in found), min(one.cosine for one in found))


def _check_batches() -> Iterator[list[np.ndarray]]:
    rng = np.random.default_rng(0)
    for batch in CHECKED_SECONDS:
        sizes = [int(seconds * SAMPLE_RATE) for seconds in batch]
        envelopes = [np.abs(np.sin(np.arange(size) / rng.uniform(500, 1500))) for size in sizes]
        yield [(0.1 + 0.3 * e * rng.standard_normal(e.size)).astype(np.float32) for e in envelopes]


def _agreements(
    model: Emotion2vec, graph: Graph, kind: type[NetworkPath], waveforms: list[np.ndarray]
) -> Iterator[Agreement]:
    lengths = np.array([waveform.size for waveform in waveforms])
    padded = np.ones((len(waveforms), int(lengths.max())), np.float32)  # padding must not show, whatever it holds
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: waveform.size] = waveform if kind is WholePath else _heard(model, waveform)
    found = graph(padded, lengths)
    for index, waveform in enumerate(waveforms):
        expected = _expected(model, waveform)
        for name in kind.outputs(model):
            ours, value = found[name][index], expected[name]
            if name == FRAMES:
                yield Agreement(float(np.abs(ours[len(value) :]).max(initial=0.0)), 1.0)
                ours = ours[: len(value)]
            if ours.shape != value.shape or not np.isfinite(ours).all():
                yield Agreement(float("inf"), -1.0)
            else:
                cosine = _lowest_cosine(ours, value) if name in (FRAMES, "utterance") else 1.0
                size = max(1.0, float(np.abs(value).max(initial=0.0)))
                yield Agreement(float(np.abs(ours - value).max()) / size, cosine)


def _lowest_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The lowest cosine between vectors (..., D) in the same place."""
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return float(((ours * theirs).sum(axis=-1) / lengths).min())


@torch.inference_mode()
def _expected(model: Emotion2vec, waveform: np.ndarray) -> dict[str, np.ndarray]:
    """What the model gives for one waveform (S,) on the path that extraction takes, by the outputs' names."""
    encoded = model(torch.from_numpy(_heard(model, waveform)).unsqueeze(0))
    frames = encoded.frames[0]  # (T, D)
    pooled = frames.mean(dim=0)  # (D,)
    expected: dict[str, Any] = {FRAMES: frames, TOKENS: encoded.tokens[0], "utterance": pooled}
    expected["frame_counts"] = torch.tensor(len(frames))
    if model.head is not None:
        expected[SCORES] = model.head.probabilities(model.scores(encoded))[0]
    return {name: value.numpy() for name, value in expected.items()}


def _heard(model: Emotion2vec, waveform: np.ndarray) -> np.ndarray:
    """A waveform (S,) as the network wants to hear it."""
    return normalize(waveform) if model.config.normalizes else waveform
