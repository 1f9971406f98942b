"""A model's graph as a `torch.export` program: writing it, and running it.

B: utterances. S: samples of the longest.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from emotion2vec.checkpoint.opening import build_model
from emotion2vec.checkpoint.source import Source
from emotion2vec.exporting.agreement import Agreement, Graph, check
from emotion2vec.exporting.network import WholePath, exportable, facts, shortest_waveforms, trace
from emotion2vec.files import complete_folder
from emotion2vec.model.encoder import Emotion2vec

FACTS_FILE = "emotion2vec.json"
"""The extra file of a program that says what it is; ONNX has metadata of its own."""


def write_program(model: Emotion2vec, partial: Path) -> Agreement:
    """Write a model as a `torch.export` program, and compare the file with it."""
    with open(partial, "wb") as stream:
        torch.export.save(trace(model), stream, extra_files={FACTS_FILE: json.dumps(facts(model), indent=2)})
    return check(model, open_program(partial, model))


def write_graph(source: Source, folder: Path) -> list[str]:
    """Write a `torch.export` program as `model.pt2`: the format `onnx-ready` of `convert`.

    Returns:
        What a user should know about it.
    """
    with complete_folder(folder) as partial:
        write_program(exportable(build_model(source)), partial / "model.pt2")
    return ["`emotion2vec export` writes the same graph, also as ONNX"]


def open_program(path: Path, model: Emotion2vec) -> Graph:
    """Open a program of this model, ready to run."""
    with open(path, "rb") as stream:
        module = torch.export.load(stream).module()
    names, least = WholePath.outputs(model), shortest_waveforms(model)

    @torch.inference_mode()
    def run(waveforms: np.ndarray, lengths: np.ndarray) -> dict[str, np.ndarray]:
        padded = F.pad(torch.from_numpy(waveforms), (0, max(0, least - waveforms.shape[1])))  # (B, S)
        outputs = module(padded, torch.from_numpy(lengths))
        return {name: output.numpy() for name, output in zip(names, outputs, strict=True)}

    return run
