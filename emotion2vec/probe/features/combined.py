"""Several features side by side, such as speech and text.

P: channels of a clip's vector, of all features together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.probe.features.extractor import ClipFeatures, Extractor

JOINT = "+"
"""Stands between the names of features that are read side by side."""


class CombinedFeatures:
    """The clip vectors of several extractors joined; the joined vector is also the clip's only frame."""

    def __init__(self, parts: Sequence[Extractor]):
        self.parts = tuple(parts)
        self.name = JOINT.join(part.name for part in parts)
        self.fingerprint = JOINT.join(part.fingerprint for part in parts)
        self.reads = tuple(sorted({source for part in parts for source in part.reads}))

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        """Extract clips; a clip that one of the extractors cannot read has no features."""
        found = zip(*(part.extract(clips) for part in self.parts), strict=True)
        return [_joined(items) for items in found]


def _joined(items: Sequence[ClipFeatures | str]) -> ClipFeatures | str:
    vectors = []
    for item in items:
        if isinstance(item, str):
            return item
        vectors.append(item.vector)
    vector = np.concatenate(vectors)  # (P,)
    return ClipFeatures(vector, vector[None])
