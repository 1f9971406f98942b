"""Measure what Whisper's padding to 30 s changes: features of clips as they are, beside those of padded clips.

python benchmarks/whisper_padding.py MODEL FOLDER [--clips 100]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import emotion2vec
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.model.encoder import Emotion2vec

PADDED = 30 * 16_000
"""Samples that Whisper pads to."""


@torch.inference_mode()
def layers(model: Emotion2vec, waveform: np.ndarray) -> np.ndarray:
    """Outputs of all blocks, (L, T, D)."""
    return torch.stack(model(torch.from_numpy(waveform).unsqueeze(0)).layers).squeeze(1).numpy()


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines of vectors (..., D)."""
    return (a * b).sum(axis=-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def main() -> None:
    """Print, for every block, how alike frames and utterance means are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=100)
    arguments = parser.parse_args()
    model = emotion2vec.load_model(arguments.model)
    utterances = read_manifest(arguments.folder).utterances
    chosen = utterances[:: max(1, len(utterances) // arguments.clips)][: arguments.clips]
    frames, means, seconds = [], [], []
    for utterance in chosen:
        waveform = utterance.load()[:PADDED]
        own = layers(model, waveform)  # (L, T, D)
        padded = layers(model, np.pad(waveform, (0, PADDED - waveform.size)))[:, : own.shape[1]]
        frames.append(cosine(own, padded).mean(axis=1))
        means.append(cosine(own.mean(axis=1), padded.mean(axis=1)))
        seconds.append(waveform.size / 16_000)
    print(f"{len(chosen)} clips of {np.mean(seconds):.1f} s on average")
    print("block  cosine of frames, mean  of utterance means, mean  lowest")
    for block, (frame, mean) in enumerate(zip(np.array(frames).T, np.array(means).T, strict=True)):
        print(f"{block:5d}  {frame.mean():22.4f}  {mean.mean():24.4f}  {mean.min():6.4f}")


if __name__ == "__main__":
    main()
