"""Extract emotion2vec features from audio files and compare the clips with each other.

    python examples/extract_features.py CLIP [CLIP ...] [--model MODEL]

Without MODEL, which may be the folder of a pretraining run such as demo/run after `make demo`, the model that ships
with the package is taken. D: model width.
"""

from __future__ import annotations

import argparse

import numpy as np

import emotion2vec


def main() -> None:
    """Print the shape of every clip's features and the cosine similarity of the first clip to each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", metavar="CLIP")
    parser.add_argument("--model", default=None)
    options = parser.parse_args()
    model = emotion2vec.load_model(options.model) if options.model else emotion2vec.load_model()
    utterances = []
    for clip in options.clips:
        features = model.extract_features(clip)
        utterances.append(features.utterance)  # (D,)
        print(f"{clip}: {features.frames.shape[0]} frames of {features.frames.shape[1]} numbers")
    vectors = np.stack(utterances)  # (clips, D)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for clip, similarity in zip(options.clips, vectors @ vectors[0], strict=True):
        print(f"{similarity:.3f}  {options.clips[0]} ~ {clip}")


if __name__ == "__main__":
    main()
