"""Features that lie on disk already, matched to clips by the files that they were made from, by path or by stem.

T: frames. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from emotion2vec.corpora.contents import combined_key
from emotion2vec.corpora.faults import examples, shortened
from emotion2vec.corpora.names import folders_agree, normal, stem, without_suffix
from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.writers.base import escaped
from emotion2vec.extraction.writers.ledger import read_origins
from emotion2vec.probe.features.extractor import ClipFeatures, pool
from emotion2vec.probe.features.stored.opening import open_store
from emotion2vec.units import counted


class StoredFeatures:
    """Features that `extract` wrote, in any of its formats, or arrays of others: see `open_store`.

    Arrays are frames (T, D) or vectors (P,); where there are both, the vector is the stored one unless a pooling is
    asked for. A clip's features are those that were made from its file, as far as `inputs.jsonl` beside them says;
    else those called as its path below the corpus's root is, without its audio suffix; else those of its stem in a
    folder that is not called otherwise. Two that match are none, and no features are given to two files.
    """

    reads = ("audio",)

    def __init__(self, path: Path, pooling: str | None = None):
        self.name = path.as_posix()
        self._pooling = pooling
        self._store = open_store(path)
        self.fingerprint = f"stored {combined_key(self._store.files)} {pooling or 'mean'}"
        self._by_file: dict[tuple[str, float | None, float | None], list[str]] = defaultdict(list)
        for id, origin in read_origins(self._store.ledgers).items():
            name = id if id in self._store.entries else escaped(id)
            if name in self._store.entries:
                self._by_file[origin.file, origin.start, origin.duration].append(name)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._by_stem: dict[str, list[str]] = defaultdict(list)
        for name in self._store.entries:
            for index, keys in ((self._by_name, (name, without_suffix(name))), (self._by_stem, _ends(name))):
                for key in {normal(key) for key in keys}:
                    index[key].append(name)
        self._owners: dict[str, str] = {}

    def extract(self, clips: Sequence[Utterance]) -> list[ClipFeatures | str]:
        """Look clips up; see `Extractor`."""
        return [self._find(clip) for clip in clips]

    def _find(self, clip: Utterance) -> ClipFeatures | str:
        names = self._matching(clip)
        if len(names) != 1:
            found = f": {examples(names)}" if names else ""
            return (
                f"{len(names) or 'no'} arrays for {clip.path.name if clip.is_whole else clip.id}, expected one{found}"
            )
        (name,) = names
        owner = self._owners.setdefault(name, clip.where)
        if owner != clip.where:
            return f"{name} would be the features of {clip.where}, and of {owner} too"
        entries = self._store.entries[name]
        if len(entries) != 1:
            return f"{name} is in {counted(len(entries), 'file')}, expected one"
        try:
            arrays = {key: np.asarray(array, np.float32) for key, array in entries[0]().items()}
        except Exception as error:  # whatever a file of features holds
            return f"{name}: cannot be read: {shortened(str(error) or type(error).__name__)}"
        for values in arrays.values():
            if values.ndim not in (1, 2) or not values.size or not np.isfinite(values).all():
                return f"{name}: shape {values.shape}, expected finite frames (T, D) or a vector (P,)"
        return self._as_features(arrays)

    def _as_features(self, arrays: dict[str, np.ndarray]) -> ClipFeatures:
        """One clip's vector and frames of what is stored, `frames`, `utterance`, or both."""
        frames = arrays.get("frames", arrays.get("utterance"))
        vector = arrays.get("utterance", frames)
        assert frames is not None and vector is not None
        if self._pooling is not None and frames.ndim == 2:
            vector = frames
        pooled = vector if vector.ndim == 1 else pool(vector, self._pooling or "mean")
        return ClipFeatures(pooled, np.atleast_2d(frames))

    def _matching(self, clip: Utterance) -> list[str]:
        """Names in the store that are the clip's, by the surest thing that is known of any."""
        made_from = self._by_file.get((os.path.abspath(clip.path), clip.start, clip.duration), [])
        if len(made_from) == 1:
            return made_from
        wanted = (clip.file, without_suffix(clip.file)) if clip.is_whole else (clip.id,)
        named = _distinct(self._by_name, (*wanted, *map(escaped, wanted)))
        if named or not clip.is_whole:
            return named
        folders = clip.path.absolute().parts[1:-1]
        ends = _distinct(self._by_stem, (*_ends(clip.path.name), *_ends(escaped(clip.path.name))))
        return [name for name in ends if folders_agree(PurePosixPath(name).parts[:-1], folders)]


def _ends(name: str) -> tuple[str, str]:
    """The last part of a path, with its audio suffix and without."""
    return name.rpartition("/")[2], stem(name)


def _distinct(index: dict[str, list[str]], keys: Iterable[str]) -> list[str]:
    """Names under any of the keys, each once."""
    return list(dict.fromkeys(name for key in keys for name in index.get(normal(key), [])))
