"""Features that were computed once, by clip and place.

n: clips. T: frames. L: layers. D: teacher's width. K: classes. Z: labels of a frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from emotion2vec.distil.features import HEADER
from emotion2vec.documents import MOST_ANNOTATIONS, read_json
from emotion2vec.errors import ConfigError


class Place(NamedTuple):
    """Where a clip lies: its part, its first frame there, how many they are, and its row of the scores."""

    part: int
    first: int
    frames: int
    row: int


class StoredFeatures:
    """A complete folder of features, read as it is needed.

    Attributes:
        left_out: why there is nothing of a clip, by its id.

    Raises:
        ConfigError: it cannot be read, or two clips have one id.
    """

    array, header, what = "frames.npy", HEADER, "features"
    """Files of a part and of the folder, and what they hold."""
    alone = "; without target.features they need none"
    """What else can be done where ids are there twice."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.left_out: dict[str, str] = {}
        self.places: dict[str, Place] = {}
        self._frames: list[np.ndarray] = []
        self._scores: list[np.ndarray | None] = []
        for number, part in enumerate(sorted(folder.glob("part_*[0-9]"))):
            try:
                document = read_json(part / "clips.json", MOST_ANNOTATIONS)
                self._frames.append(np.load(part / self.array, mmap_mode="r"))
                scores = part / "scores.npy"
                self._scores.append(np.load(scores, mmap_mode="r") if scores.is_file() else None)
                left_out = dict(document["left_out"])
                clips = [(str(name), int(first), int(count)) for name, first, count in document["clips"]]
            except (OSError, ValueError, LookupError, TypeError, OverflowError) as error:
                raise ConfigError(
                    f"{part}: cannot be read as {self.what}: {error}; remove it to compute it anew"
                ) from error
            self.left_out |= left_out
            for row, (name, first, count) in enumerate(clips):
                if name in self.places:
                    raise ConfigError(f"{folder}: two clips are called {name}, expected ids of their own{self.alone}")
                self.places[name] = Place(number, first, count, row)

    def why_not(self, name: str) -> str:
        """Why there is nothing of a clip."""
        return self.left_out.get(name, f"{self.folder / self.header} and its parts hold nothing of it")

    def frames(self, name: str, first: int, count: int) -> np.ndarray | None:
        """Frames (T, L, D) float16 of a clip from one on, or labels (T, Z); None where there are not so many."""
        place = self.places.get(name)
        if place is None or first + count > place.frames:
            return None
        return np.array(self._frames[place.part][place.first + first : place.first + first + count])

    def scores(self, name: str) -> np.ndarray | None:
        """Scores (K,) of a clip, None where there are none."""
        place = self.places.get(name)
        scores = None if place is None else self._scores[place.part]
        return None if scores is None or place is None else scores[place.row]
