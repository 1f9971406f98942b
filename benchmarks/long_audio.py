"""Measure what windows and streams change against one pass, over 120 s or what the network knows to handle at once.

python benchmarks/long_audio.py [--model tiny] [--audio FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import emotion2vec
from emotion2vec.audio.samples import load_audio, normalize
from emotion2vec.audio.windows import Chunking
from emotion2vec.corpora.lists.manifests import read_manifest
from emotion2vec.extraction.encode.choices import FeatureChoice
from emotion2vec.extraction.encode.encoder import Encoder
from emotion2vec.extraction.sources.decoding import LongWaveform, Statistics, Undecoded
from emotion2vec.extraction.streaming import StreamOptions, stream_features
from emotion2vec.model.encoder import Emotion2vec
from emotion2vec.model.features import Features


def speech(folder: Path, seconds: float) -> np.ndarray:
    """Clips one after the other, (S,) at 16 kHz, as long as asked for; repeated if there are too few."""
    clips = [load_audio(utterance.audio) for utterance in read_manifest(folder).utterances[:200]]
    joined = np.concatenate(clips)
    return np.tile(joined, int(np.ceil(seconds * 16_000 / joined.size)))[: int(seconds * 16_000)]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosines (T,) of frames (T, D)."""
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@torch.inference_mode()
def in_one_pass(model: Emotion2vec, samples: np.ndarray) -> np.ndarray:
    """Frames (T, D) of audio that is not cut, however long it is."""
    heard = normalize(samples) if model.config.normalizes else samples
    return model(torch.from_numpy(heard).unsqueeze(0)).frames[0].numpy()


def seams(model: Emotion2vec, samples: np.ndarray, one_pass: np.ndarray) -> None:
    """Compare windows of several lengths and overlaps with one pass."""
    statistics = Statistics()
    statistics.add(samples)
    cuts = [(40, 10), (40, 2), (40, 0), (20, 10), (10, 5)]
    for seconds, overlap in [cut for cut in cuts if cut[0] * 16_000 < samples.size]:
        chunking = Chunking(seconds, overlap)
        encoder = Encoder(model, FeatureChoice(), precision="fp32", chunking=chunking)
        clip = LongWaveform(Undecoded(0, "", lambda: iter([samples])), samples.size, statistics.mean, statistics.scale)
        frames = encoder.encode_long(clip)["frames"].whole()  # (T, D)
        found = cosine(frames, one_pass)
        utterance = cosine(frames.mean(axis=0)[None], one_pass.mean(axis=0)[None])[0]
        print(
            f"windows of {seconds} s, overlap {overlap} s: cosine to one pass, frames: mean {found.mean():.6f}, lowest "
            f"{found.min():.6f}; utterance {utterance:.6f}"
        )


def streams(model: Emotion2vec, samples: np.ndarray) -> None:
    """Compare streams with one pass over the same audio, after the first second and at the end."""
    one_pass = Features(in_one_pass(model, samples))
    cuts = (StreamOptions(), StreamOptions(hop=0.2, lookahead=0.2), StreamOptions(lookahead=2.0, context=10.0))
    for options in (*cuts, StreamOptions(context=25.0)):
        steps = list(stream_features(np.array_split(samples, 100), 16_000, model=model, options=options))
        found = cosine(np.concatenate([step.frames for step in steps]), one_pass.frames)
        utterance = cosine(steps[-1].utterance[None], one_pass.utterance[None])[0]
        print(
            f"stream, latency {options.latency:.1f} s, context {options.context:.0f} s: frames: first second "
            f"{found[:50].mean():.4f}, later mean {found[50:].mean():.4f}, lowest {found[50:].min():.4f}; utterance "
            f"{utterance:.5f}"
        )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--audio", type=Path, default=Path("examples/sample_speech"))
    options = parser.parse_args()
    model = emotion2vec.load_model(options.model)
    samples = speech(options.audio, model.config.max_seconds or 120)
    seams(model, samples, in_one_pass(model, samples))
    streams(model, samples[: 30 * 16_000])


if __name__ == "__main__":
    main()
