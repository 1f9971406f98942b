"""Features and scores of audio files by an exported graph, with nothing but onnxruntime, soundfile, soxr and NumPy.

    emotion2vec export MODEL model.onnx
    pip install onnxruntime soundfile soxr
    python examples/run_onnx.py model.onnx CLIP [CLIP ...]

Clips may have any sample rate, any channels and any format that soundfile reads; the numbers are those of the package.
B: clips. S: samples. C: channels. W: stretches of half a second.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime
import soundfile
import soxr


def read_clip(path: str, rate: int, shortest: int) -> np.ndarray:
    """Read a clip as float32 samples (S,) of one channel at the graph's rate."""
    try:
        samples, found = soundfile.read(path, dtype="float32", always_2d=True)  # (S, C)
    except soundfile.SoundFileError as error:
        sys.exit(f"{path}: cannot be decoded: {error}")
    clip = one_channel(samples, found)
    if found != rate:
        clip = soxr.ResampleStream(found, rate, 1, dtype="float32", quality="HQ").resample_chunk(clip, last=True)
    if len(clip) < shortest:
        sys.exit(f"{path}: {len(clip)} samples at {rate} Hz, expected at least {shortest}")
    return clip


def one_channel(samples: np.ndarray, rate: int) -> np.ndarray:
    """The mean (S,) of channels (S, C); the loudest one where a tenth of their energy cancels out in the mean."""
    mean = samples.mean(axis=1)
    if samples.shape[1] == 1 or not len(samples):
        return mean
    starts = np.arange(0, len(samples), max(1, round(rate / 2)))  # (W,)
    lengths = np.diff(np.append(starts, len(samples)))

    def energy(signal: np.ndarray) -> np.ndarray:
        """Energy of each stretch (W,) of a signal (S,), without its offset."""
        offsets = np.repeat(np.add.reduceat(signal, starts) / lengths, lengths)
        return np.add.reduceat((signal - offsets) ** 2, starts)

    energies = np.stack([energy(channel) for channel in samples.T])  # (C, W)
    every = energies.mean(axis=0)  # (W,)
    cancelled = every[energy(mean) < every / 100].sum()  # by 20 dB; unrelated channels lose 3
    return samples[:, energies.sum(axis=1).argmax()] if cancelled and cancelled >= every.sum() / 10 else mean


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
            scores = outputs["scores"][index]  # (K,)
            print(f", {labels[scores.argmax()]} ({scores.max():.3f})", end="")
        print()


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
