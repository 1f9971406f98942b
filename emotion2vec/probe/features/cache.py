"""Features of single clips on disk, found again by the content of the audio.

A cache folder has one folder per extractor and in it packs, `.npz` files of some hundred clips each. Packs are written
once, under a temporary name that is renamed when the file is complete, and never changed.

N: clips of a pack. T: frames of all clips together. D: channels of a frame. P: channels of a clip's vector.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.files import complete_file
from emotion2vec.probe.features.extractor import ClipFeatures

CACHE_VERSION = 3
"""Raised when the same fingerprint would give other numbers."""


class FeatureCache:
    """The packs of one extractor."""

    def __init__(self, folder: Path, fingerprint: str, frames: bool):
        name = hashlib.blake2b(f"{CACHE_VERSION} {fingerprint}".encode(), digest_size=12).hexdigest()
        self._folder = folder / name
        self._frames = frames

    def read(self, wanted: set[str]) -> dict[str, ClipFeatures]:
        """What is there of the wanted keys; packs that cannot be read count as absent."""
        found: dict[str, ClipFeatures] = {}
        for path in sorted(self._folder.glob("*.npz")):
            if len(found) == len(wanted):
                break
            try:
                with np.load(path, allow_pickle=False) as pack:
                    found.update(self._choose(pack, wanted - found.keys()))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue
        return found

    def _choose(self, pack: Any, wanted: set[str]) -> Iterator[tuple[str, ClipFeatures]]:
        """The pack's clips that are wanted, all of them or, where the pack ends early, an error."""
        keys = pack["keys"].tolist()
        if not wanted.intersection(keys) or (self._frames and "frames" not in pack):
            return
        vectors, layers, lengths = pack["vectors"], int(pack["layers"]), pack["lengths"]
        frames = np.split(pack["frames"], np.cumsum(lengths)[:-1]) if self._frames else [None] * len(keys)
        for key, vector, rows in zip(keys, vectors, frames, strict=True):
            if key in wanted:
                yield key, ClipFeatures(vector, rows, layers)

    def add(self, clips: Sequence[tuple[str | None, ClipFeatures | str]]) -> None:
        """Write a pack of the clips that have features; failures are tried again next time."""
        good = {key: item for key, item in clips if key is not None and not isinstance(item, str)}
        if not good:
            return
        features = list(good.values())
        arrays: dict[str, Any] = {
            "keys": np.array(list(good), np.str_),
            "vectors": np.stack([item.vector for item in features]),
            "layers": np.array(features[0].layers),
            "lengths": np.array([0 if item.frames is None else len(item.frames) for item in features], np.int64),
        }
        if self._frames and all(item.frames is not None for item in features):
            arrays["frames"] = np.concatenate([item.frames for item in features])  # (T, D)
        digest = hashlib.blake2b(digest_size=12)
        digest.update("".join(good).encode() + str(self._frames).encode())
        with complete_file(self._folder / f"{digest.hexdigest()}.npz") as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)
