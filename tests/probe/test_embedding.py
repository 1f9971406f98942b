from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.probe import embedding
from emotion2vec.probe.embedding import embed
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.report.corpus import embedding_plots

EMOTIONS = ("anger", "neutral", "disgust")


class Clouds:
    """Vectors in three clouds, by the number in the clip's name; one clip cannot be read."""

    name = fingerprint = "clouds"
    reads = ("audio",)

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        return ["broken" if clip.path.stem == "7" else self._vector(int(clip.path.stem)) for clip in clips]

    def _vector(self, number: int) -> ClipFeatures:
        noise = np.random.default_rng(number).standard_normal(6)
        return ClipFeatures((noise + 20 * np.eye(6)[number % 3]).astype(np.float32), None)


def clipset(count: int) -> Corpus:
    clips = tuple(
        Utterance(
            id=str(i),
            file=str(i),
            audio=Path(f"{i}.wav"),
            label=EMOTIONS[i % 3],
            speaker=None if i < 5 else f"s{i % 2}",
        )
        for i in range(count)
    )
    return Corpus(name="clouds", root=Path("clouds"), utterances=clips)


def test_points_carry_what_they_are_coloured_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    found = embed(clipset(30), Clouds())
    assert len(found["pca"]) == 29  # without the broken one
    groups = found["groups"]
    assert groups["emotion"][:3] == list(EMOTIONS) and groups["arousal"][:3] == ["high", "low", "neither"]
    assert groups["speaker"][4:6] == ["unknown", "s1"]
    assert "umap" not in found and "pip install umap-learn" in embedding_plots(found)
    points = np.array(found["pca"])
    centres = [points[[label == emotion for label in groups["emotion"]]].mean(axis=0) for emotion in EMOTIONS]
    assert min(np.linalg.norm(centres[i] - centres[i - 1]) for i in range(3)) > 2
    assert found["explained"] == pytest.approx(1, abs=0.5)
    with pytest.raises(ManifestError, match="2 clips can be read, expected at least 3"):
        embed(clipset(2), Clouds())


def test_large_corpora_are_sampled_before_their_features_are_extracted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    monkeypatch.setattr(embedding, "MOST_POINTS", 20)
    asked: list[str] = []
    monkeypatch.setattr(
        Clouds,
        "extract",
        lambda self, clips: asked.extend(c.path.stem for c in clips) or [self._vector(int(c.file)) for c in clips],
    )
    first, again = embed(clipset(90), Clouds()), embed(clipset(90), Clouds())
    assert len(first["pca"]) == 20 and first == again
    assert len(set(asked)) == 20 and asked[:20] == sorted(asked[:20], key=int)


def test_umap_is_drawn_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Umap:
        def __init__(self, **settings: object):
            assert settings == {"n_neighbors": 15, "random_state": 0, "n_jobs": 1}

        def fit_transform(self, vectors: np.ndarray) -> np.ndarray:
            assert vectors.mean(axis=0) == pytest.approx(0, abs=1e-5)
            return vectors[:, :2]

    monkeypatch.setattr(embedding, "find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))  # type: ignore[arg-type]
    page = embedding_plots(embed(clipset(30), Clouds()))
    assert page.count("<svg") == 6 and page.count("UMAP, by ") == 6  # captions and labels of three plots
    assert "pip install" not in page
    assert "umap" not in embed(clipset(15), Clouds())  # too few points for its neighbourhoods


@pytest.mark.slow  # it compiles for half a minute
@pytest.mark.skipif(find_spec("umap") is None, reason="umap-learn is not installed: pip install umap-learn")
def test_umap_keeps_clouds_apart_and_gives_the_same_again() -> None:
    found = embed(clipset(90), Clouds())
    assert found["umap"] == embed(clipset(90), Clouds())["umap"]
    points, labels = np.array(found["umap"]), np.array(found["groups"]["emotion"])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 1e9 * np.eye(len(points))
    assert (labels[distances.argmin(axis=1)] == labels).all()
