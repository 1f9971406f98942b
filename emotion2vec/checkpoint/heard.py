"""What a model has heard: names and lengths of the utterances that trained it, so that a probe can recognize them.

An utterance is known by its file's name and its length to a tenth of a second, which re-encoding and moving keep. Of
very many utterances a sample is kept, the lowest by a hash of the name, so that the record never grows beyond 2 MB.

N: utterances.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

HEARD_FILE = "heard.safetensors"
MOST_KEPT = 1 << 18
"""Utterances that a record names at most."""

_LENGTH_BITS = 14
_LONGEST = (1 << _LENGTH_BITS) - 2
"""Tenths of a second beyond which lengths are not told apart."""


def utterance_key(name: str, seconds: float) -> int:
    """Key of an utterance: 48 bits of a hash of its name, without folders and suffix, then its length in 0.1 s.

    Args:
        name: path or id; a number that made an id unique (`#2`) does not count.
        seconds: its length.
    """
    stem = re.sub(r"#\d+$", "", PurePosixPath(name.replace("\\", "/")).name)
    stem = re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", stem).lower()
    digest = hashlib.blake2b(stem.encode("utf-8", "surrogatepass"), digest_size=6).digest()
    return (int.from_bytes(digest, "big") << _LENGTH_BITS) | min(max(round(10 * seconds), 1), _LONGEST)


@dataclass(frozen=True)
class Heard:
    """Utterances that a model knows.

    Attributes:
        audio: (N,) int64 keys, rising, of those whose audio was in pretraining.
        labels: (N,) the same of those whose labels chose among its checkpoints.
    """

    audio: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    labels: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def __bool__(self) -> bool:
        return bool(len(self.audio) or len(self.labels))

    def with_more(self, audio: Iterable[int] = (), labels: Iterable[int] = ()) -> Heard:
        """The same and further utterances, by their keys."""
        return Heard(_merged(self.audio, audio), _merged(self.labels, labels))

    def share(self, kind: str, keys: Sequence[int]) -> float:
        """Share of some utterances that is known, `audio` or `labels`; estimated where only a sample is kept."""
        known: np.ndarray = getattr(self, kind)
        asked = [key for key in keys if len(known) < MOST_KEPT or key <= known[-1]]
        return float(self.knows(kind, asked).mean()) if asked else 0.0

    def knows(self, kind: str, keys: Sequence[int]) -> np.ndarray:
        """Which of some utterances are known (N,), `audio` or `labels`; of very many only those in the sample are."""
        known: np.ndarray = getattr(self, kind)
        asked = np.array(keys, np.int64)
        first = np.searchsorted(known, asked - 1, "left")
        last = np.searchsorted(
            known, asked + 1, "right"
        )  # a length near the edge of a tenth may fall on its other side
        found: np.ndarray = last > first
        return found

    def tensors(self) -> dict[str, np.ndarray]:
        """What `read_heard` reads."""
        return {"audio": self.audio, "labels": self.labels}


def _merged(known: np.ndarray, more: Iterable[int]) -> np.ndarray:
    return np.union1d(known, np.fromiter(more, np.int64))[:MOST_KEPT]


def read_heard(folder: Path) -> Heard | None:
    """Read the record of a model folder, None where it has none.

    Raises:
        CheckpointError: it is there and cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from emotion2vec.errors import CheckpointError

    path = folder / HEARD_FILE
    if not path.is_file():
        return None
    try:
        found = load_file(path)
        if any(keys.ndim != 1 or keys.dtype != np.int64 for keys in found.values()):
            raise ValueError("expected rows of int64")
        return Heard(found["audio"], found["labels"])
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as the record of what a model has heard: {error}") from error
