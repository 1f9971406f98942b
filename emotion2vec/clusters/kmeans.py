"""K-means over frames of a corpus, mini-batch by mini-batch: memory holds one of them, however large the corpus is.

S: samples. T: frames of a clip. N: frames of a mini-batch. L: layers. D: channels. K: clusters. Z: scales.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from emotion2vec.audio.frames import SAMPLE_RATE, FrameGrid
from emotion2vec.clusters.frames import FrameSource
from emotion2vec.clusters.settings import ClusterSettings, Scale, scales_of
from emotion2vec.data.pieces import TOGETHER, lengths_of, loaded
from emotion2vec.data.sources import Source
from emotion2vec.errors import AudioError, ConfigError
from emotion2vec.seeding import keyed_seed
from emotion2vec.units import counted

START_FRAMES = 3_000
"""Frames of the first mini-batch that k-means++ starts on, where K is no more than a third of it."""

STD_FLOOR = 1e-4
"""Added in quadrature to a channel's standard deviation."""


@dataclass(frozen=True)
class Clusters:
    """Centers of clusters, of channels that are standardized.

    Attributes:
        shift: (D,) what is subtracted from the channels of each layer, by its number.
        scale: (D,) what they are divided by then.
        centers: (K, D) of each scale.
    """

    shift: Mapping[int, np.ndarray]
    scale: Mapping[int, np.ndarray]
    centers: Mapping[Scale, np.ndarray]

    def standardized(self, layer: int, frames: np.ndarray) -> np.ndarray:
        """Frames (N, D) of a layer as clusters see them."""
        found: np.ndarray = ((frames - self.shift[layer]) / self.scale[layer]).astype(np.float32)
        return found

    def label(self, frames: Mapping[int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The nearest centers (T, Z) of frames (T, D) of each layer, and the sums of squared distances to them (Z,)."""
        from sklearn.metrics import pairwise_distances_argmin_min

        seen = {layer: self.standardized(layer, rows) for layer, rows in frames.items()}
        found = [
            pairwise_distances_argmin_min(seen[scale.layer], centers, metric="sqeuclidean")
            for scale, centers in self.centers.items()
        ]
        labels, distances = zip(*found, strict=True)
        return np.stack(labels, axis=1), np.array([row.sum(dtype=np.float64) for row in distances])


def fit_clusters(
    frames: FrameSource,
    sources: Sequence[Source],
    settings: ClusterSettings,
    *,
    seed: int,
    say: Callable[[str], None],
) -> Clusters:
    """Fit clusters at every scale to frames of sources.

    The first mini-batch gives the statistics that channels are standardized by, and the best of some k-means++ starts;
    then every mini-batch, that one too, moves the centers (scikit-learn's `MiniBatchKMeans.partial_fit`).

    Args:
        frames: says something of every frame.
        sources: the audio.
        settings: which layers, how many clusters, how long.
        seed: of the order of clips, and of all that k-means draws.
        say: shows a line of text to the user.

    Raises:
        ConfigError: there are fewer frames than clusters.
        StorageError: the audio is out of reach.
    """
    from sklearn.cluster import MiniBatchKMeans

    scales = scales_of(settings)
    batches = _mini_batches(frames, sources, settings, seed)
    first = next(batches, np.zeros((len(frames.layers), 0, 1), np.float32))  # (L, N, D)
    if first.shape[1] < max(settings.counts):
        raise ConfigError(too_few(settings, first.shape[1]))
    of_layer = dict(zip(frames.layers, first, strict=True))
    shift, scale = _statistics(of_layer, settings.standardize)
    known = Clusters(shift, scale, {})
    models = {}
    for one in scales:
        start = _start(known.standardized(one.layer, of_layer[one.layer]), one, settings.starts, seed)
        state = keyed_seed(seed, "k-means", one.layer, one.count) % 2**32
        models[one] = MiniBatchKMeans(one.count, init=start, n_init=1, compute_labels=False, random_state=state)
    count = 0
    for batch in chain([first], batches):
        seen = {layer: known.standardized(layer, rows) for layer, rows in zip(frames.layers, batch, strict=True)}
        for one, model in models.items():
            model.partial_fit(seen[one.layer])
        count += batch.shape[1]
    say(f"clusters are fitted to {count // settings.passes:,} frames in {counted(settings.passes, 'pass', 'passes')}")
    return Clusters(shift, scale, {one: model.cluster_centers_.astype(np.float32) for one, model in models.items()})


def too_few(settings: ClusterSettings, frames: int) -> str:
    """That there are fewer frames than clusters."""
    return (
        f"clusters.counts has {max(settings.counts)} and there are {frames:,} frames to cluster, expected at least one "
        "for each cluster, and better hundreds"
    )


def frames_of(grid: FrameGrid, sources: Sequence[Source]) -> int:
    """Frames of all utterances, as far as their headers say."""
    return sum(grid.count(int(length)) for source in sources for length in lengths_of(source))


def _statistics(
    of_layer: Mapping[int, np.ndarray], wanted: bool
) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """What channels (D,) of each layer are shifted and divided by, from its frames (N, D)."""
    shift, scale = {}, {}
    for layer, rows in of_layer.items():
        rows = rows.astype(np.float64) if wanted else np.array([[0.0] * rows.shape[1]])
        shift[layer] = rows.mean(axis=0).astype(np.float32)
        variance = rows.var(axis=0) + STD_FLOOR**2 if wanted else np.ones(rows.shape[1])
        scale[layer] = np.sqrt(variance).astype(np.float32)
    return shift, scale


def _start(rows: np.ndarray, scale: Scale, starts: int, seed: int) -> np.ndarray:
    """The centers (K, D) of the k-means++ start that some frames (N, D) are nearest to."""
    from sklearn.cluster import kmeans_plusplus
    from sklearn.metrics import pairwise_distances_argmin_min

    random = np.random.default_rng(keyed_seed(seed, "k-means++", scale.layer, scale.count))
    size = min(len(rows), max(START_FRAMES, 3 * scale.count))
    rows = rows[random.permutation(len(rows))[:size]]
    best, least = rows[: scale.count], np.inf
    for _ in range(starts):
        centers, _ = kmeans_plusplus(rows, scale.count, random_state=int(random.integers(2**32)))
        total = float(pairwise_distances_argmin_min(rows, centers, metric="sqeuclidean")[1].sum())
        if total < least:
            best, least = centers, total
    return best


def _mini_batches(
    frames: FrameSource, sources: Sequence[Source], settings: ClusterSettings, seed: int
) -> Iterator[np.ndarray]:
    """Mini-batches (L, N, D), in each pass's own order: `settings.batch` frames and up to a clip more, or the rest."""
    parts: list[np.ndarray] = []
    for number in range(settings.passes):
        for waveform in _clips(sources, settings.hours, seed, number):
            heard = frames(waveform)  # (L, T, D)
            if np.isfinite(heard).all():
                parts.append(heard)
            if sum(part.shape[1] for part in parts) >= settings.batch:
                yield np.concatenate(parts, axis=1)
                parts = []
        if parts:
            yield np.concatenate(parts, axis=1)
            parts = []


def _clips(sources: Sequence[Source], hours: float, seed: int, number: int) -> Iterator[np.ndarray]:
    """Waveforms (S,) of the clips that clusters are fitted to, in a pass's order; what cannot be read is left out."""
    lengths = [lengths_of(source) for source in sources]
    owner = np.repeat(np.arange(len(sources)), [len(row) for row in lengths])
    place = np.concatenate([np.arange(len(row)) for row in lengths])
    chosen = np.random.default_rng(keyed_seed(seed, "clusters")).permutation(len(place))
    if hours:
        ends = np.cumsum(np.concatenate(lengths)[chosen])
        chosen = chosen[: max(1, int(np.searchsorted(ends, hours * 3600 * SAMPLE_RATE, side="right")))]
    order = np.random.default_rng(keyed_seed(seed, "clusters", number)).permutation(chosen)
    for first in range(0, len(order), TOGETHER):
        part = order[first : first + TOGETHER]
        for source in np.unique(owner[part]).tolist():
            for _, waveform in loaded(sources[source], place[part][owner[part] == source].tolist()):
                if not isinstance(waveform, AudioError):
                    yield waveform
