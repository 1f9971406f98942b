"""The whole path from waveforms to features and scores as one graph of plain operators, for runtimes without our code.

B: utterances. S: samples of the longest. T: frames of the longest. D: model width. C: labels.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.audio.frames import SAMPLE_RATE, frame_stride, receptive_field
from emotion2vec.audio.samples import NORMALIZE_EPS, normalize
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import ConvLayer
from emotion2vec.model.heads import masked_mean
from emotion2vec.version import __version__

INPUTS = ("waveforms", "lengths")
FRAMES = "frames"
TOKENS = "tokens"
FEATURES = (FRAMES, "utterance", "frame_counts")
SCORES = "scores"

CHECKED_SECONDS = ((0.05,), (1.0,), (3.3,), (10.0,), (0.7, 2.2, 1.4))
"""Lengths of the batches, in s, that a written graph is compared with the model on."""

Graph = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""A written graph, ready to run: waveforms (B, S) float32 and lengths (B,) int64 in, outputs by name out."""


class NetworkPath(nn.Module):
    """Normalized samples in, the last block's output out: CNN and backbone.

    The CNN is written with plain convolutions here: the blocks of time steps that `Frontend` multiplies have lengths
    that an exporter cannot follow when S is unknown.
    """

    def __init__(self, model: Emotion2vec):
        super().__init__()
        self.model = model

    @staticmethod
    def outputs(model: Emotion2vec) -> list[str]:
        """Names of the outputs, in their order."""
        return [FRAMES, TOKENS] if model.config.tokens else [FRAMES]

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Encode utterances of different lengths; padding never shows in what belongs to an utterance.

        Args:
            waveforms: (B, S) float32 samples at 16 kHz, normalized; whatever follows an utterance is ignored.
            lengths: (B,) int64 samples of each utterance.

        Returns:
            Frames (B, T, D), zero in the padding, and with utterance tokens what stands at them (B, N, D).
        """
        frames, tokens, _, _ = self._encode(waveforms, lengths)
        return (frames, tokens) if self.model.config.tokens else (frames,)

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Encode normalized waveforms (B, S) to frames (B, T, D), tokens (B, N, D), padding (B, T) and counts (B,)."""
        local = self.model.frontend.project(self._cnn(waveforms))  # (B, T, D)
        counts = self.model.frame_counts(lengths)  # (B,)
        hidden = torch.arange(local.shape[1], device=local.device) >= counts.unsqueeze(1)  # (B, T)
        x = self.model.backbone(local, padding=hidden).x  # (B, N+T, D)
        tokens = self.model.config.tokens
        return x[:, tokens:].masked_fill(hidden.unsqueeze(2), 0.0), x[:, :tokens], hidden, counts

    def _cnn(self, waveforms: Tensor) -> Tensor:
        """Run the CNN: (B, S) to (B, T, C)."""
        x = waveforms.unsqueeze(1)  # (B, 1, S)
        for layer in self.model.frontend.layers:
            assert isinstance(layer, ConvLayer)
            x = F.conv1d(x, layer.weight, stride=layer.stride).transpose(1, 2)  # (B, T', C)
            x = F.gelu(layer.norm(x)).transpose(1, 2)  # (B, C, T')
        return x.transpose(1, 2)  # (B, T, C)


class WholePath(NetworkPath):
    """Samples in, features out: normalization, CNN, backbone and, where there is one, the head."""

    @staticmethod
    def outputs(model: Emotion2vec) -> list[str]:
        """Names of the outputs, in their order."""
        return [*FEATURES, *([SCORES] if model.head is not None else [])]

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        """Encode utterances of different lengths; padding never shows in what belongs to an utterance.

        Args:
            waveforms: (B, S) float32 samples at 16 kHz, not normalized; whatever follows an utterance is ignored.
            lengths: (B,) int64 samples of each utterance.

        Returns:
            Frames (B, T, D), zero in the padding; utterances (B, D), their means over time; frame counts (B,); and
            with a head scores (B, C).
        """
        padding = torch.arange(waveforms.shape[1], device=waveforms.device) >= lengths.unsqueeze(1)  # (B, S)
        frames, _, hidden, counts = self._encode(_normalized(waveforms, padding, lengths), lengths)
        utterance = masked_mean(frames, hidden)  # (B, D)
        if self.model.head is None:
            return frames, utterance, counts
        return frames, utterance, counts, self.model.head.probabilities(self.model.head.of_pooled(utterance))


def _normalized(waveforms: Tensor, padding: Tensor, lengths: Tensor) -> Tensor:
    """Normalize each utterance of (B, S) over its own samples, with sums in float64, as `audio.normalize` does."""
    count = lengths.unsqueeze(1).double()  # (B, 1)
    samples = waveforms.double().masked_fill(padding, 0.0)
    centered = (samples - samples.sum(dim=1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = (centered * centered).sum(dim=1, keepdim=True) / count  # (B, 1)
    return (centered / torch.sqrt(variance + NORMALIZE_EPS)).float()


def trace(model: Emotion2vec, kind: type[NetworkPath] = WholePath) -> torch.export.ExportedProgram:
    """Trace a model for any number of utterances of any length, in waveforms of at least `shortest_waveforms`."""
    generator = torch.Generator().manual_seed(0)
    example = (torch.randn(2, SAMPLE_RATE, generator=generator), torch.tensor([SAMPLE_RATE, SAMPLE_RATE // 2]))
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=shortest_waveforms(model))
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own machinery
        return torch.export.export(kind(model), example, dynamic_shapes=({0: batch, 1: samples}, {0: batch}))


def shortest(model: Emotion2vec) -> int:
    """Samples of the shortest utterance that gives a frame."""
    return receptive_field(model.config.kernels, model.config.strides)


def shortest_waveforms(model: Emotion2vec) -> int:
    """Samples S from which on a traced program runs: two frames, as the tracer tells one from many."""
    return shortest(model) + frame_stride(model.config.strides)


def facts(model: Emotion2vec) -> dict[str, str]:
    """What is written into a graph for those who run it; lists are JSON."""
    labels = list(model.head.labels) if model.head is not None else []
    return {
        "emotion2vec_version": __version__,
        "sample_rate": str(SAMPLE_RATE),
        "hop": str(frame_stride(model.config.strides)),
        "shortest": str(shortest(model)),
        "width": str(model.config.width),
        "labels": json.dumps(labels, ensure_ascii=False),
    }


def name_shapes(graph: Any, model: Emotion2vec) -> None:
    """Name the free dimensions of an ONNX graph's inputs and outputs (an `onnx_ir.Model`) after what they count."""
    from onnx_ir import Shape

    shapes: dict[str, list[str | int]] = {
        "waveforms": ["batch", "samples"],
        "lengths": ["batch"],
        FRAMES: ["batch", "frames", model.config.width],
        TOKENS: ["batch", model.config.tokens, model.config.width],
        "utterance": ["batch", model.config.width],
        "frame_counts": ["batch"],
        SCORES: ["batch", len(model.head.labels) if model.head is not None else 0],
    }
    for value in [*graph.graph.inputs, *graph.graph.outputs]:
        value.shape = Shape(shapes[value.name])


class Agreement(NamedTuple):
    """How near a graph comes to its model.

    Attributes:
        difference: the largest absolute difference of any output; infinite when one is not finite or has a wrong shape.
        cosine: the lowest cosine of a frame or an utterance to the model's.
    """

    difference: float
    cosine: float


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
        row[: waveform.size] = waveform if kind is WholePath else normalize(waveform)
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
                yield Agreement(float(np.abs(ours - value).max()), cosine)


def _lowest_cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The lowest cosine between vectors (..., D) in the same place."""
    lengths = np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    return float(((ours * theirs).sum(axis=-1) / lengths).min())


@torch.inference_mode()
def _expected(model: Emotion2vec, waveform: np.ndarray) -> dict[str, np.ndarray]:
    """What the model gives for one waveform (S,) on the path that extraction takes, by the outputs' names."""
    encoded = model(torch.from_numpy(normalize(waveform)).unsqueeze(0))
    frames = encoded.frames[0]  # (T, D)
    pooled = frames.mean(dim=0)  # (D,)
    expected: dict[str, Any] = {FRAMES: frames, TOKENS: encoded.tokens[0], "utterance": pooled}
    expected["frame_counts"] = torch.tensor(len(frames))
    if model.head is not None:
        expected[SCORES] = model.head.probabilities(model.head.of_pooled(pooled.unsqueeze(0)))[0]
    return {name: value.numpy() for name, value in expected.items()}
