"""The network and its whole path, from waveforms to features and scores, as plain operators that can be traced.

B: utterances. S: samples of the longest. T: frames of the longest. D: model width. C: labels.
"""

from __future__ import annotations

import json
import warnings

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.audio.frames import MIN_SAMPLES, SAMPLE_RATE
from emotion2vec.audio.samples import NORMALIZE_EPS
from emotion2vec.errors import CheckpointError
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import ConvLayer
from emotion2vec.model.heads import masked_mean
from emotion2vec.model.logmel import MelFrontend
from emotion2vec.model.speech import SpeechEncoder
from emotion2vec.version import __version__

INPUTS = ("waveforms", "lengths")
FRAMES = "frames"
TOKENS = "tokens"
FEATURES = (FRAMES, "utterance", "frame_counts")
SCORES = "scores"
WITHOUT_GRAPH = ("gru",)
"""Kinds of heads whose loop over the frames of each utterance the tracer cannot follow."""


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
        layers, tokens, hidden, _ = self._encode(waveforms, lengths)
        frames = layers[-1].masked_fill(hidden.unsqueeze(2), 0.0)
        return (frames, tokens) if self.model.config.tokens else (frames,)

    def _encode(self, waveforms: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
        """Encode waveforms (B, S) to layers (B, T, D), tokens (B, N, D), padding (B, T) and frame counts (B,)."""
        local = self.model.frontend.project(self._cnn(waveforms, lengths))  # (B, T, D)
        counts = self.model.frame_counts(lengths)  # (B,)
        hidden = torch.arange(local.shape[1], device=local.device) >= counts.unsqueeze(1)  # (B, T)
        out, tokens = self.model.backbone(local, padding=hidden), self.model.config.tokens
        return [layer[:, tokens:] for layer in out.layers], out.x[:, :tokens], hidden, counts

    def _cnn(self, waveforms: Tensor, lengths: Tensor) -> Tensor:
        """Run the CNN: (B, S) samples, of so many (B,) each, to (B, T, C)."""
        if isinstance(self.model.frontend, MelFrontend):
            return self.model.frontend.cnn(waveforms, lengths)
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
        if self.model.config.normalizes:
            padding = torch.arange(waveforms.shape[1], device=waveforms.device) >= lengths.unsqueeze(1)  # (B, S)
            waveforms = _normalized(waveforms, padding, lengths)
        layers, _, hidden, counts = self._encode(waveforms, lengths)
        frames, head = layers[-1].masked_fill(hidden.unsqueeze(2), 0.0), self.model.head
        utterance = masked_mean(frames, hidden)  # (B, D)
        if head is None:
            return frames, utterance, counts
        scores = head(torch.stack(layers, dim=1) if head.reads_layers else frames, hidden)  # (B, C)
        return frames, utterance, counts, head.probabilities(scores)


def _normalized(waveforms: Tensor, padding: Tensor, lengths: Tensor) -> Tensor:
    """Normalize each utterance of (B, S) over its own samples, with sums in float64, as `audio.normalize` does."""
    count = lengths.unsqueeze(1).double()  # (B, 1)
    samples = waveforms.double().masked_fill(padding, 0.0)
    centered = (samples - samples.sum(dim=1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = (centered * centered).sum(dim=1, keepdim=True) / count  # (B, 1)
    return (centered / torch.sqrt(variance + NORMALIZE_EPS)).float()


def exportable(model: SpeechEncoder) -> Emotion2vec:
    """The model as one that a graph can be made of.

    Raises:
        CheckpointError: it is not ours, or has a head that graphs cannot hold.
    """
    if not isinstance(model, Emotion2vec):
        raise CheckpointError(f"the model is a {type(model).__name__}, expected one of ours: only these become graphs")
    if model.head is not None and model.head.config.kind in WITHOUT_GRAPH:
        raise CheckpointError(f"the model's head is of kind {model.head.config.kind}, which graphs cannot hold")
    return model


def trace(model: Emotion2vec, kind: type[NetworkPath] = WholePath) -> torch.export.ExportedProgram:
    """Trace a model for any number of utterances of any length, in waveforms of at least `shortest_waveforms`."""
    generator = torch.Generator().manual_seed(0)
    example = (torch.randn(2, SAMPLE_RATE, generator=generator), torch.tensor([SAMPLE_RATE, SAMPLE_RATE // 2]))
    batch, samples = torch.export.Dim("batch"), torch.export.Dim("samples", min=shortest_waveforms(model))
    if model.config.frontend == "logmel":  # the tracer cannot work out that so many samples give two frames
        samples = torch.export.Dim.AUTO
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own machinery
        return torch.export.export(kind(model), example, dynamic_shapes=({0: batch, 1: samples}, {0: batch}))


def shortest(model: Emotion2vec) -> int:
    """Samples of the shortest utterance that gives a frame."""
    return max(MIN_SAMPLES, model.config.grid.samples(1))


def shortest_waveforms(model: Emotion2vec) -> int:
    """Samples S from which on a traced program runs: two frames, as the tracer tells one from many."""
    return shortest(model) + model.config.grid.stride


def facts(model: Emotion2vec) -> dict[str, str]:
    """What is written into a graph for those who run it; lists are JSON."""
    labels = list(model.head.labels) if model.head is not None else []
    return {
        "emotion2vec_version": __version__,
        "sample_rate": str(SAMPLE_RATE),
        "hop": str(model.config.grid.stride),
        "shortest": str(shortest(model)),
        "width": str(model.config.width),
        "labels": json.dumps(labels, ensure_ascii=False),
    }
