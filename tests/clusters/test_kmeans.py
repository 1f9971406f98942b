"""K-means by mini-batches against k-means on everything at once; what it holds in memory, reads and refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from clusters.frames_of_numbers import Numbers, Reshaped, clips_of
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import adjusted_rand_score

from emotion2vec.clusters.kmeans import Clusters, fit_clusters, frames_of
from emotion2vec.clusters.settings import ClusterSettings, Scale
from emotion2vec.errors import ConfigError


def silent(text: str) -> None:
    """Say nothing."""


def fitted(clips: list[Any], seed: int = 0, **settings: Any) -> Clusters:
    wanted = ClusterSettings(**{"layers": [1, 2], "counts": [4], "batch": 300, "passes": 3} | settings)
    return fit_clusters(Reshaped(), [Numbers(clips)], wanted, seed=seed, say=silent)


def heaps(apart: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Frames (2, N, 2) around four points, others in each layer, with the heap of each."""
    random = np.random.default_rng(seed)
    heap = random.integers(0, 4, 2_000)
    points = apart * random.permutation(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    first = points[heap] + random.normal(size=(2_000, 2))
    return np.stack([first, 5 * first[:, ::-1] + 3]), heap


@pytest.mark.parametrize("standardize", [True, False])
def test_heaps_are_found_as_by_k_means_on_all_at_once(standardize: bool) -> None:
    frames, heap = heaps(30.0)
    clusters = fitted(clips_of(frames), standardize=standardize)
    labels, distances = clusters.label(dict(zip([1, 2], frames, strict=True)))
    for column, scale in enumerate([Scale(1, 4), Scale(2, 4)]):
        whole = KMeans(4, n_init=5, random_state=0).fit(clusters.standardized(scale.layer, frames[column]))
        assert (
            adjusted_rand_score(heap, labels[:, column]) == 1 == adjusted_rand_score(whole.labels_, labels[:, column])
        )
        assert distances[column] == pytest.approx(whole.inertia_, rel=0.01)
    assert standardize or np.array_equal(clusters.standardized(1, frames[0]), frames[0].astype(np.float32))


def test_where_there_are_no_heaps_centers_are_nearly_as_good_as_those_of_k_means_on_all_at_once() -> None:
    frames, _ = heaps(2.0)
    clusters = fitted(clips_of(frames), counts=[4, 12], passes=6)
    _, distances = clusters.label(dict(zip([1, 2], frames, strict=True)))
    for place, scale in enumerate(clusters.centers):
        whole = KMeans(scale.count, n_init=5, random_state=0)
        best = whole.fit(clusters.standardized(scale.layer, frames[scale.layer - 1])).inertia_
        assert best <= distances[place] * (1 + 1e-5) and distances[place] < 1.06 * best


def test_channels_are_standardized_by_the_first_mini_batch() -> None:
    frames, _ = heaps(30.0)
    clusters = fitted(clips_of(frames), batch=2_000)
    for layer, rows in zip([1, 2], frames, strict=True):
        seen = clusters.standardized(layer, rows)
        assert seen.mean(axis=0) == pytest.approx(0, abs=1e-4) and seen.std(axis=0) == pytest.approx(1, abs=1e-3)


def test_memory_holds_one_mini_batch_whatever_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    step: Callable[..., Any] = MiniBatchKMeans.partial_fit
    sizes: list[int] = []

    def measured(self: MiniBatchKMeans, rows: np.ndarray) -> Any:
        sizes.append(len(rows))
        return step(self, rows)

    monkeypatch.setattr(MiniBatchKMeans, "partial_fit", measured)
    frames, _ = heaps(3.0)
    fitted(clips_of(frames, 25), layers=[1, 2], batch=110, passes=2)
    assert sum(sizes) == 2 * 2 * 2_000  # passes, scales
    assert max(sizes) < 110 + 25 and sizes.count(125) > 20


def test_it_is_the_seeds_and_reads_as_much_as_it_is_told() -> None:
    frames, _ = heaps(1.0)
    first, same, other = (fitted(clips_of(frames), seed) for seed in (1, 1, 2))
    for scale, centers in first.centers.items():
        assert np.array_equal(centers, same.centers[scale]) and not np.array_equal(centers, other.centers[scale])
    source = Numbers(clips_of(frames))  # 80 clips of 100 samples
    settings = ClusterSettings(layers=[1, 2], counts=[4], batch=100, passes=3, hours=20 * 100 / 16_000 / 3600)
    fit_clusters(Reshaped(), [source], settings, seed=0, say=silent)
    passes = [source.read[start : start + 20] for start in (0, 20, 40)]
    assert len(source.read) == 60 and {*passes[0]} == {*passes[1]} == {*passes[2]} and passes[0] != passes[1]
    assert passes[0] != sorted(passes[0])


def test_what_cannot_be_read_or_is_not_finite_is_left_out() -> None:
    frames, heap = heaps(30.0)
    clips: list[Any] = clips_of(frames)
    clips[3] = None
    clips[4] = np.full(100, np.nan, np.float32)
    labels, _ = fitted(clips).label(dict(zip([1, 2], frames, strict=True)))
    assert adjusted_rand_score(heap, labels[:, 0]) == 1


def test_fewer_frames_than_clusters_are_refused() -> None:
    frames, _ = heaps(1.0)
    clips = clips_of(frames)[:2]
    assert frames_of(Reshaped.grid, [Numbers(clips)]) == 50
    with pytest.raises(ConfigError, match=r"clusters.counts has 51 and there are 50 frames to cluster"):
        fitted(clips, counts=[2, 51])
    assert len(fitted(clips, counts=[50]).centers[Scale(1, 50)]) == 50
    with pytest.raises(ConfigError, match="there are 0 frames"):
        fitted([None])
