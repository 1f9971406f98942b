"""Extract emotion2vec features from audio files and compare the clips with each other.

    python examples/extract_features.py MODEL CLIP [CLIP ...]

MODEL is the folder of a pretraining run, such as demo/run after `make demo`. D: model width.
"""

from __future__ import annotations

import sys

import numpy as np

import emotion2vec


def main(model_path: str, clips: list[str]) -> None:
    """Print the shape of every clip's features and the cosine similarity of the first clip to each."""
    model = emotion2vec.load_model(model_path)
    utterances = []
    for clip in clips:
        features = model.extract_features(clip)
        utterances.append(features.utterance)  # (D,)
        print(f"{clip}: {features.frames.shape[0]} frames of {features.frames.shape[1]} numbers")
    vectors = np.stack(utterances)  # (clips, D)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for clip, similarity in zip(clips, vectors @ vectors[0], strict=True):
        print(f"{similarity:.3f}  {clips[0]} ~ {clip}")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
