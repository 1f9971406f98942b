"""The cluster of every frame of a corpus, computed once and kept.

    clusters.json             whose frames of what, and how they were clustered; written first
    clusters.safetensors      centers, and what channels are standardized by
    part_00000/labels.npy     (ΣT, Z) uint8, or uint16 where some scale has more than 256 clusters
    part_00000/clips.json     ids of the clips with their first frame and number of frames, and what was left out
    report.json               how the clusters are used, and what they know

A part appears when it is complete; whoever starts again computes those that are not there.

T: frames of a clip. Z: scales. D: channels. K: clusters.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.clusters.frames import FrameSource
from emotion2vec.clusters.kmeans import Clusters, fit_clusters
from emotion2vec.clusters.report import report_of, write_report
from emotion2vec.clusters.settings import ClusterSettings, scales_of
from emotion2vec.data.pieces import Piece, lengths_hash, loaded, plan_pieces
from emotion2vec.data.sources import CutSource, Source
from emotion2vec.distil.stored import StoredFeatures
from emotion2vec.documents import read_json
from emotion2vec.errors import AudioError, ConfigError, StorageError
from emotion2vec.files import complete_file, complete_folder, write_json
from emotion2vec.training.ranks import Ranks
from emotion2vec.units import counted

HEADER, CENTERS, LABELS, CLIPS = "clusters.json", "clusters.safetensors", "labels.npy", "clips.json"
FORMAT, FORMAT_VERSION = "emotion2vec-clusters", 1
NOT_FINITE = "its frames are not finite"

Facts = Mapping[str, Mapping[str, str]]
"""What is known of clips, such as `gender`: by name, and by the clips' ids."""


@dataclass(frozen=True)
class Task:
    """What is clustered into which folder.

    Attributes:
        folder: new, or of an earlier run of the same.
        frames: says something of every frame.
        settings: which layers, how many clusters.
        seed: of what is drawn.
        facts: what clusters are compared with; nothing is learnt from it.
    """

    folder: Path
    frames: FrameSource
    settings: ClusterSettings
    seed: int
    facts: Facts

    def content(self, sources: Sequence[Source]) -> dict[str, Any]:
        """What the folder's header says."""
        digest = hashlib.blake2b(lengths_hash(sources).encode(), digest_size=16)
        for source in sources:
            for cut in source.cuts if isinstance(source, CutSource) else ():
                digest.update(cut.id.encode("utf-8", "surrogatepass") + b"\0")
        described = {"fingerprint": self.frames.fingerprint, "seed": self.seed}  # a folder may be moved
        return {**described, **asdict(self.settings), "clips": digest.hexdigest()}


class StoredLabels(StoredFeatures):
    """A complete folder of labels, read as it is needed: `frames` gives labels (T, Z)."""

    array, header, what = LABELS, HEADER, "labels of frames"
    alone = ""


def make_labels(task: Task, sources: Sequence[Source], ranks: Ranks, say: Callable[[str], None]) -> Clusters:
    """See to it that a folder holds the clusters of all frames of the sources; the processes share the parts out.

    Args:
        task: what is clustered.
        sources: the audio that is labelled, and that clusters are fitted to.
        ranks: the processes of the run.
        say: shows a line of text to the user.

    Raises:
        ConfigError: the folder holds other clusters, or there are fewer frames than clusters, or all are in one.
        StorageError: the disk does not take them, or does not show all of them to every process.
    """
    folder, pieces = task.folder, plan_pieces(sources)
    missing = _missing(folder, pieces)  # before any process writes one
    ranks.main_only(lambda: _begin(task, sources, say))
    clusters = read_clusters(folder, task.settings)
    error: StorageError | None = None
    try:
        for number in missing[ranks.rank :: ranks.size]:
            _write_part(_part(folder, number), task, clusters, sources[pieces[number].source], pieces[number])
    except OSError as raised:
        error = StorageError(f"labels of frames {folder}: cannot be written: {raised}; complete parts stay")
    ranks.raise_together(error)
    ranks.main_only(lambda: _report(task, pieces, say))
    return clusters


def read_clusters(folder: Path, settings: ClusterSettings) -> Clusters:
    """Read the centers of a folder.

    Raises:
        ConfigError: they are not there, or of other scales.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = folder / CENTERS
    try:
        found = load_file(path)
        return Clusters(
            shift={layer: found[f"shift.layer{layer}"] for layer in settings.layers},
            scale={layer: found[f"scale.layer{layer}"] for layer in settings.layers},
            centers={scale: found[f"centers.{scale.name}"] for scale in scales_of(settings)},
        )
    except (OSError, SafetensorError, KeyError) as error:
        raise ConfigError(
            f"{path}: cannot be read as clusters: {error}; remove the folder to make them anew"
        ) from error


def fingerprint(clusters: Clusters) -> bytes:
    """Of all centers, 16 bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for scale, centers in clusters.centers.items():
        digest.update(scale.name.encode() + centers.tobytes())
    return digest.digest()


def _begin(task: Task, sources: Sequence[Source], say: Callable[[str], None]) -> None:
    """Check ids, and compare what is there, or write the header and fit clusters."""
    from safetensors.numpy import save

    check_ids(sources)
    folder, content = task.folder, task.content(sources)
    header = folder / HEADER
    try:
        if header.is_file():
            _compare(header, content)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise ConfigError(f"{folder}: holds no {HEADER}, expected a new folder for clusters")
        else:
            folder.mkdir(parents=True, exist_ok=True)
            written = {"format": FORMAT, "format_version": FORMAT_VERSION, "frames": task.frames.name, **content}
            write_json(header, written)
        if (folder / CENTERS).is_file():
            return
        scales = scales_of(task.settings)
        say(f"clusters of frames of {task.frames.name}: {'; '.join(scale.shown for scale in scales)}")
        clusters = fit_clusters(task.frames, sources, task.settings, seed=task.seed, say=say)
        tensors = {f"centers.{scale.name}": centers for scale, centers in clusters.centers.items()}
        for layer in task.settings.layers:
            tensors |= {f"shift.layer{layer}": clusters.shift[layer], f"scale.layer{layer}": clusters.scale[layer]}
        with complete_file(folder / CENTERS) as partial:
            partial.write_bytes(save(tensors))
    except OSError as error:
        raise StorageError(f"clusters {folder}: cannot be written: {error}") from error


def check_ids(sources: Sequence[Source]) -> None:
    """Check that no two clips of lists have one id; those of prepared corpora are known when they are read.

    Raises:
        ConfigError: some have.
    """
    ids = Counter(cut.id for source in sources if isinstance(source, CutSource) for cut in source.cuts)
    if twice := [name for name, count in ids.items() if count > 1]:
        raise ConfigError(
            f"data.train: {len(twice)} of {counted(len(ids), 'id')} are of several clips, such as {twice[0]}, expected "
            "clusters of clips with ids of their own; lists of one weight, or one list, see to that"
        )


def _compare(header: Path, content: Mapping[str, Any]) -> None:
    """Check that a folder holds what is wanted.

    Raises:
        ConfigError: it holds something else, or cannot be read.
    """
    try:
        there = read_json(header)
        if (there["format"], there["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError(f"is {there['format']!r} {there['format_version']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{header}: cannot be read as a header of clusters: {error}") from error
    differ = [key for key, value in content.items() if there.get(key) != value]
    if differ:
        shown = "; ".join(f"{key} is {there.get(key)!r} there and {content[key]!r} now" for key in differ)
        raise ConfigError(f"{header.parent}: holds other clusters, expected another folder, or none there: {shown}")


def _part(folder: Path, number: int) -> Path:
    return folder / f"part_{number:05d}"


def _missing(folder: Path, pieces: Sequence[Piece]) -> list[int]:
    """Numbers of the parts that are not complete."""
    return [number for number in range(len(pieces)) if not (_part(folder, number) / CLIPS).is_file()]


def _write_part(folder: Path, task: Task, clusters: Clusters, source: Source, piece: Piece) -> None:
    """Label the clips of a piece."""
    rows: list[np.ndarray] = []
    clips: list[tuple[str, int, int]] = []
    left_out: dict[str, str] = {}
    dtype = np.uint8 if max(task.settings.counts) <= 256 else np.uint16
    first, inertia = 0, np.zeros(len(clusters.centers))
    for name, waveform in loaded(source, range(piece.first, piece.stop)):
        if isinstance(waveform, AudioError):
            left_out[name] = str(waveform)
            continue
        heard = task.frames(waveform)  # (L, T, D)
        if not np.isfinite(heard).all():
            left_out[name] = NOT_FINITE
            continue
        labels, distances = clusters.label(dict(zip(task.frames.layers, heard, strict=True)))
        rows.append(labels.astype(dtype))
        clips.append((name, first, len(labels)))
        first, inertia = first + len(labels), inertia + distances
    with complete_folder(folder) as partial:
        np.save(partial / LABELS, np.concatenate([np.zeros((0, len(inertia)), dtype), *rows]))
        document = {"clips": clips, "left_out": left_out, "inertia": inertia.tolist()}
        (partial / CLIPS).write_text(json.dumps(document))  # in ASCII, which names of any bytes survive


def _report(task: Task, pieces: Sequence[Piece], say: Callable[[str], None]) -> None:
    """Write the report and say it, once.

    Raises:
        ConfigError: all frames are in one cluster.
        StorageError: a part is not there.
    """
    if missing := _missing(task.folder, pieces):
        shown = ", ".join(_part(task.folder, number).name for number in missing)
        raise StorageError(f"labels of frames {task.folder}: {shown} are not there, expected all that were computed")
    path = task.folder / "report.json"
    if path.is_file():
        return
    found = report_of(task.folder, scales_of(task.settings), task.facts)
    for one in found:
        say(f"clusters of {one}")
    if alone := [one.scale.shown for one in found if one.used < 2]:
        raise ConfigError(f"{task.folder}: all frames are in one cluster ({'; '.join(alone)}), which teaches nothing")
    write_report(path, found)
