"""Features that lie on disk already, matched to clips by relative path or stem.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.errors import ManifestError
from emotion2vec.probe.cache import ClipFeatures
from emotion2vec.probe.contents import combined_key
from emotion2vec.probe.corpora import Clip


def is_feature_store(path: Path) -> bool:
    """Whether a path is an .npz file, or a folder that holds .npy files and no model."""
    if path.suffix == ".npz":
        return path.is_file()
    return path.is_dir() and next(path.rglob("*.npy"), None) is not None


class StoredFeatures:
    """Features from an .npz of one array per clip, a folder of .npy files, or the original recipe's three files.

    Arrays are frames (T, D) or vectors (P,). The original recipe keeps `NAME.npy` (all frames), `NAME.lengths` (frames
    per clip) and `NAME.tsv` or `NAME.emo` (a name per clip, in the same order). A clip is found by the longest end of
    its path that the store has, without its ending, or by its stem alone.
    """

    reads = ("audio",)

    def __init__(self, path: Path, pooling: str):
        self.name = path.as_posix()
        self._pooling = pooling
        if path.suffix == ".npz":
            self._arrays, files = _archive(path), [path]
        elif lengths := sorted(path.glob("*.lengths")):
            self._arrays, files = _fairseq_recipe(lengths), sorted(path.glob("*.npy"))
        else:
            files = sorted(path.rglob("*.npy"))
            self._arrays = {file.relative_to(path).with_suffix("").as_posix(): file for file in files}
        self.fingerprint = f"stored {combined_key(files)} {pooling}"
        self._stems: dict[str, list[str]] = {}
        for key in self._arrays:
            self._stems.setdefault(key.rpartition("/")[2], []).append(key)

    def extract(self, clips: Sequence[Clip]) -> list[ClipFeatures | str]:
        """Look clips up; see `Extractor`."""
        return [self._find(clip.path) for clip in clips]

    def _find(self, path: Path) -> ClipFeatures | str:
        keys = self._stems.get(path.stem, [])
        clip = path.with_suffix("").as_posix()
        matching = [key for key in keys if clip == key or clip.endswith(f"/{key}")] or keys
        if len(matching) != 1:
            return f"{len(matching) or 'no'} arrays for {path.name}, expected one"
        try:
            array = self._arrays[matching[0]]
            values = np.asarray(np.load(array, allow_pickle=False) if isinstance(array, Path) else array, np.float32)
        except (OSError, ValueError, EOFError) as error:
            return f"{matching[0]}: cannot be read: {error}"
        if values.ndim not in (1, 2) or not values.size or not np.isfinite(values).all():
            return f"{matching[0]}: shape {values.shape}, expected finite frames (T, D) or a vector (P,)"
        frames = np.atleast_2d(values)  # (T, D)
        return ClipFeatures(values if values.ndim == 1 else pool(frames, self._pooling), frames)


def pool(frames: np.ndarray, pooling: str) -> np.ndarray:
    """Summarize frames (T, D) over time: their mean (D,), or mean and standard deviation (2 D,), float32."""
    mean = frames.mean(axis=0, dtype=np.float64)
    if pooling == "mean":
        return mean.astype(np.float32)
    return np.concatenate([mean, frames.std(axis=0, dtype=np.float64)]).astype(np.float32)


def _archive(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {Path(key).with_suffix("").as_posix() if "." in key else key: archive[key] for key in archive}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ManifestError(f"features {path}: cannot be read as .npz: {error}") from error


def _fairseq_recipe(lengths: list[Path]) -> dict[str, Any]:
    """Frames of all clips in one array, cut by a file of lengths and named by a file of names."""
    arrays: dict[str, Any] = {}
    for path in lengths:
        names = next((path.with_suffix(end) for end in (".tsv", ".emo") if path.with_suffix(end).is_file()), None)
        if names is None or not path.with_suffix(".npy").is_file():
            raise ManifestError(f"features {path}: expected beside it {path.stem}.npy, and {path.stem}.tsv or .emo")
        counts = [int(line) for line in path.read_text(encoding="utf-8").split()]
        rows = [line.split()[0] for line in names.read_text(encoding="utf-8").splitlines() if line.strip()]
        if names.suffix == ".tsv" and len(rows) == len(counts) + 1:
            rows = rows[1:]  # a fairseq manifest starts with its root
        frames = np.load(path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        if len(rows) != len(counts) or sum(counts) != len(frames):
            raise ManifestError(
                f"features {path}: {len(rows)} names, {len(counts)} lengths of {sum(counts)} frames together, and "
                f"{len(frames)} frames in {path.stem}.npy; expected them to agree"
            )
        ends = np.cumsum(counts)
        for row, end, count in zip(rows, ends, counts, strict=True):
            arrays[Path(row).with_suffix("").as_posix()] = frames[end - count : end]
    return arrays
