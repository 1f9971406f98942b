"""Features in two dimensions, for the eye: PCA, and UMAP where umap-learn is installed.

N: clips. P: channels of a clip's vector.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.extractor import Extractor
from emotion2vec.probe.features.table import extract_table
from emotion2vec.probe.scores import Document, given
from emotion2vec.seeding import keyed_seed
from emotion2vec.tasks.scaling import Scaling
from emotion2vec.units import counted

UMAP_NEIGHBOURS = 15

MOST_POINTS = 1500
"""Clips drawn at most; more are sampled, the same ones for every feature."""

AROUSAL = {
    "high": {
        "anger",
        "angry",
        "fear",
        "fearful",
        "anxiety",
        "happiness",
        "happy",
        "joy",
        "surprise",
        "surprised",
        "excited",
    },
    "low": {"neutral", "calm", "sadness", "sad", "boredom", "bored"},
}
"""Classes whose arousal is commonly taken as high or low; others are drawn as neither."""


@dataclass(frozen=True, kw_only=True)
class Embedding(Document):
    """Clips of a corpus as points of the plane, by one feature.

    Attributes:
        groups: what each point is, by every way of colouring: `emotion`, `arousal` and `speaker`, `corpus` where
            several are joined, or the thirds of values where these are predicted.
        unread: files of clips that could not be read, with reasons.
        explained: share of the variance in the two principal components.
        pca: (N, 2) coordinates.
        umap: (N, 2) coordinates; None where umap-learn is not installed, or points are too few for its neighbourhoods.
    """

    groups: Mapping[str, list[str]]
    unread: Mapping[str, str]
    explained: float
    pca: list[list[float]]
    umap: list[list[float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """See `Document`."""
        return given(**vars(self))


def embed(
    clipset: Corpus,
    extractor: Extractor,
    cache: str | Path | None = None,
    progress: bool = False,
    targets: Sequence[str] = (),
) -> Embedding:
    """Project the clips' standardized vectors to the plane.

    Args:
        clipset: the clips; of many, a sample is drawn.
        extractor: of the feature.
        cache: see `extract_table`.
        progress: show a progress bar.
        targets: values that are predicted, to colour by.

    Raises:
        ManifestError: fewer than three clips can be read.
    """
    from sklearn.decomposition import PCA

    clips = clipset.utterances
    if len(clips) > MOST_POINTS:
        random = np.random.default_rng(keyed_seed("points", len(clips)))
        clips = tuple(clips[i] for i in np.sort(random.choice(len(clips), MOST_POINTS, replace=False)))
    table = extract_table(clips, extractor, frames=False, cache=cache, progress=progress)
    unread = {clips[place].stretch: reason for place, reason in table.failures.items()}
    clips = tuple(clip for clip, read in zip(clips, table.usable, strict=True) if read)
    if len(clips) < 3:
        raise ManifestError(f"{clipset.root}: {counted(len(clips), 'clip')} can be read, expected at least 3 to draw")
    read = table.vectors[table.usable]
    vectors = Scaling.of(read).apply(read)  # (N, P)
    pca = PCA(n_components=2, random_state=0).fit(vectors)
    return Embedding(
        groups=_groups(clips, targets),
        unread=unread,
        explained=float(pca.explained_variance_ratio_.sum()),
        pca=np.round(pca.transform(vectors), 3).tolist(),
        umap=_umap(vectors),
    )


def _umap(vectors: np.ndarray) -> list[list[float]] | None:
    """(N, 2), or None where it cannot be had."""
    if not find_spec("umap") or len(vectors) <= UMAP_NEIGHBOURS:
        return None
    from umap import UMAP

    umap = UMAP(n_neighbors=UMAP_NEIGHBOURS, random_state=0, n_jobs=1)  # a seed allows one thread only
    points: list[list[float]] = np.round(umap.fit_transform(vectors).astype(float), 3).tolist()
    return points


def _groups(clips: Sequence[Utterance], targets: Sequence[str]) -> dict[str, list[str]]:
    """What each clip is, by every way of colouring it."""
    if targets:
        groups = {name: _thirds([clip.values[name] for clip in clips]) for name in targets}
    else:
        groups = {"emotion": [clip.label or "unlabelled" for clip in clips]}
        if any(clip.corpus for clip in clips):
            groups["corpus"] = [clip.corpus or "unknown" for clip in clips]
        else:
            groups["arousal"] = [arousal_of(clip.label or "") for clip in clips]
    return {**groups, "speaker": [clip.speaker or "unknown" for clip in clips]}


def _thirds(values: Sequence[float]) -> list[str]:
    """Which third of the values each belongs to, and where the thirds end."""
    low, high = np.quantile(values, [1 / 3, 2 / 3])
    # "top" and not "high", so that the legend, which is alphabetical, stays in the order of the values
    names = (f"low: up to {low:.2f}", f"middle: up to {high:.2f}", f"top: above {high:.2f}")
    return [names[int(value > low) + int(value > high)] for value in values]


def arousal_of(label: str) -> str:
    """`high`, `low` or `neither`."""
    return next((level for level, labels in AROUSAL.items() if label.lower() in labels), "neither")
