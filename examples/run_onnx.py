"""Features and scores of audio files by an exported graph, with nothing but onnxruntime, soundfile and NumPy.

    emotion2vec export MODEL model.onnx
    pip install onnxruntime soundfile
    python examples/run_onnx.py model.onnx CLIP [CLIP ...]

Clips must be at 16 kHz: the graph does everything else, but it does not resample. B: clips. S: samples of the longest.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime
import soundfile


def read_clip(path: str, rate: int, shortest: int) -> np.ndarray:
    """Read a clip as float32 samples (S,), the mean of its channels."""
    samples, found = soundfile.read(path, dtype="float32", always_2d=True)  # (S, C)
    if found != rate:
        sys.exit(f"{path}: sample rate is {found}, expected {rate}")
    if len(samples) < shortest:
        sys.exit(f"{path}: {len(samples)} samples, expected at least {shortest}")
    return samples.mean(axis=1)


def main(model_path: str, paths: list[str]) -> None:
    """Print the shape of every clip's features and, where the model has a head, its label."""
    session = onnxruntime.InferenceSession(model_path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    labels = json.loads(facts["labels"])
    clips = [read_clip(path, int(facts["sample_rate"]), int(facts["shortest"])) for path in paths]
    lengths = np.array([clip.size for clip in clips])  # (B,)
    waveforms = np.zeros((len(clips), lengths.max()), np.float32)  # (B, S)
    for row, clip in zip(waveforms, clips, strict=True):
        row[: clip.size] = clip
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {"waveforms": waveforms, "lengths": lengths}), strict=True))
    for index, path in enumerate(paths):
        frames = outputs["frames"][index, : outputs["frame_counts"][index]]  # (T, D)
        print(f"{path}: {frames.shape[0]} frames of {frames.shape[1]} numbers", end="")
        if labels:
            scores = outputs["scores"][index]  # (C,)
            print(f", {labels[scores.argmax()]} ({scores.max():.3f})", end="")
        print()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
