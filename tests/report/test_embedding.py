from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from emotion2vec.corpora.utterance import Corpus, Utterance
from emotion2vec.errors import ManifestError
from emotion2vec.probe.features.extractor import ClipFeatures
from emotion2vec.report import embedding
from emotion2vec.report.charts import PALETTE, agreement, layer_bars, scatter
from emotion2vec.report.embedding import embed
from emotion2vec.report.page import embedding_plots

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


def test_groups_have_colours_by_their_names_and_the_smallest_share_one() -> None:
    few = scatter([(0, 0), (1, 1), (2, 2)], ["sad", "angry", "sad"], "title")
    assert re.findall(r'background:(#\w+)"></i>(\w+)', few) == [(PALETTE[0], "angry"), (PALETTE[1], "sad")]
    assert re.findall(r'fill="(#\w+)"', few) == [PALETTE[1], PALETTE[0], PALETTE[1]]
    groups = [f"{number:02d}" for number in range(14) for _ in range(14 - number)]
    many = scatter([(i, i) for i in range(len(groups))], groups, "title")
    named = [(PALETTE[number], f"{number:02d}") for number in range(11)]
    assert re.findall(r'background:(#\w+)"></i>([^<]+)', many) == [*named, (PALETTE[11], "3 more")]
    assert re.findall(r'fill="(#\w+)"', many)[-6:] == [PALETTE[11]] * 6


def test_predictions_far_off_do_not_squeeze_the_others() -> None:
    found = agreement([(1, 2), (5, 4), (3, 90), (2, 2), (4, 7)], "arousal")
    assert "both from 1.0 to 7.0; 5 test clips, 1 of them beyond" in found
    places = [(float(x), 260 - float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', found)]
    scale = (260 - 2 * 8) / (7 - 1)
    expected = [(1, 2), (5, 4), (3, 7), (2, 2), (4, 7)]
    assert np.array(places) == pytest.approx(8 + (np.array(expected) - 1) * scale, abs=0.1)
    assert "5 test clips</figcaption>" in agreement([(1, 2), (5, 4), (3, 3), (2, 2), (4, 7)], "arousal")


def test_predictions_of_a_single_true_value_are_drawn_where_they_are() -> None:
    found = agreement([(3, 2), (3, 4), (3, 7)], "arousal")
    assert "both from 2.0 to 7.0; 3 test clips</figcaption>" in found
    heights = [260 - float(y) for y in re.findall(r'cy="([\d.]+)"', found)]
    assert heights == pytest.approx([8, 8 + 244 * 2 / 5, 252], abs=0.1)
    edge = agreement([(1, 2), (5, 4), (7, 10.0), (7, 10.5)], "arousal")  # just as far as is drawn, and farther
    assert "both from 1.0 to 10.0; 4 test clips, 1 of them beyond" in edge


def test_layer_weights_are_bars_with_as_many_numbers_as_fit() -> None:
    found = layer_bars([0.2, 0.5, 0.3], "weights")
    heights = [float(height) for height in re.findall(r'height="([\d.]+)"/?><title>', found)]
    assert np.array(heights) / 90 == pytest.approx([0.4, 1, 0.6], abs=1e-3)
    assert "weights: 0.200 to 0.500; all alike would be 0.333" in found and re.findall(r">(\d)</text>", found) == list(
        "012"
    )
    assert re.findall(r">(\d+)</text>", layer_bars([0.04] * 25, "w")) == [str(number) for number in range(0, 25, 2)]


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
