"""Write the whole path from waveform to features as one graph of plain operators, ready for ONNX.

B: utterances. S: samples. T: frames. D: model width. C: labels.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotion2vec.audio import SAMPLE_RATE, frame_stride, receptive_field
from emotion2vec.checkpoint.complete import complete_folder
from emotion2vec.checkpoint.loading import build_model
from emotion2vec.checkpoint.native import description
from emotion2vec.checkpoint.source import Source
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.frontend import ConvLayer

GRAPH_FILE = "model.pt2"
"""A `torch.export` program, which `torch.export.load` reads and `torch.onnx.export` takes as it is."""

DESCRIPTION_FILE = "graph.json"


class WholePath(nn.Module):
    """Waveforms of equal length in, features out: normalization, CNN, backbone and, where there is one, the head.

    The CNN is written with plain convolutions here: the blocks of time steps that `Frontend` multiplies have lengths
    that an exporter cannot follow when S is unknown.
    """

    def __init__(self, model: Emotion2vec):
        super().__init__()
        self.model = model

    def forward(self, waveforms: Tensor) -> tuple[Tensor, ...]:
        """Encode (B, S) float32 samples at 16 kHz to frames (B, T, D) and, with a head, scores (B, C)."""
        x = F.layer_norm(waveforms, waveforms.shape[-1:]).unsqueeze(1)  # (B, 1, S)
        frontend = self.model.frontend
        for layer in frontend.layers:
            assert isinstance(layer, ConvLayer)
            x = F.conv1d(x, layer.weight, stride=layer.stride).transpose(1, 2)  # (B, T', C)
            x = F.gelu(layer.norm(x)).transpose(1, 2)  # (B, C, T')
        frames = self.model.backbone(frontend.project(x.transpose(1, 2))).x[:, self.model.config.tokens :]  # (B, T, D)
        if self.model.head is None:
            return (frames,)
        return frames, self.model.head.scores(frames.mean(dim=1))


def write_graph(source: Source, folder: Path) -> list[str]:
    """Write `model.pt2` with dynamic batch and length, and `graph.json` with its dimensions, inputs and outputs.

    Returns:
        What a user should know about what was left out.
    """
    model = build_model(source)
    config = source.config
    shortest = receptive_field(config.kernels, config.strides) + frame_stride(config.strides)  # two frames
    example = torch.randn(2, SAMPLE_RATE, generator=torch.Generator().manual_seed(0))
    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=shortest)}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own machinery
        program = torch.export.export(WholePath(model), (example,), dynamic_shapes=(dimensions,))
    document = description(config, source.labels) | {
        "graph": {
            "file": GRAPH_FILE,
            "inputs": {"waveforms": ["batch", "samples"]},
            "outputs": {"frames": ["batch", "frames", config.width]}
            | ({"scores": ["batch", len(source.labels)]} if source.labels else {}),
            "sample_rate": SAMPLE_RATE,
            "shortest_samples": shortest,
        }
    }
    with complete_folder(folder) as partial:
        torch.export.save(program, partial / GRAPH_FILE)
        (partial / DESCRIPTION_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return ["the graph takes clips of one length per batch, unpadded"]
