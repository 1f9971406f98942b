"""Kaldi archives: how one is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import utf8_name
from emotion2vec.files import publish, publish_first, sync, write_text

INDEX, NEW = ".scp", ".new.ark"
"""Endings of an index, and of an archive while the one of before has its name."""

KALDI_HEADER = 15
"""Bytes before the numbers of a matrix: its mark, and two sizes of 4 bytes with theirs."""


Index = Sequence[tuple[str, int]]
"""Keys of an archive, and where their matrices start in it."""


class KaldiPart:
    """One Kaldi archive `.ark` of float matrices, with its index `.scp` beside it; a vector is a matrix of one row."""

    suffix = ".ark"
    companions: tuple[str, ...] = (INDEX,)
    nested, stores_facts = False, False

    def __init__(self, partial: Path, layout: Layout, final: Path):
        self._stream = open(partial, "wb")  # noqa: SIM115 (closed by finish)
        self._partial, self._final = partial, final
        self._index: list[tuple[str, int]] = []

    @staticmethod
    def check(layout: Layout) -> None:
        """See `Part`."""
        shapes = [spec.shape for spec in layout.values()]
        if len(shapes) != 1 or len(shapes[0]) > 2 or any(spec.dtype != np.float32 for spec in layout.values()):
            raise ConfigError(
                "format is 'kaldi', which holds one float32 matrix an item: expected granularity frame or utterance, "
                "one layer, dtype float32"
            )

    @staticmethod
    def key(item: Utterance) -> str:
        """The id, which must not contain white space in an archive."""
        name = utf8_name(item)
        if name.split() != [name]:
            raise ManifestError(f"the id {name!r} cannot be a key of a Kaldi archive: it contains white space")
        return name

    @staticmethod
    def keys(path: Path, layout: Layout) -> set[str]:
        """See `Part`; the index has them all."""
        try:
            return {key for key, _ in _read_index(path)[1]}
        except (OSError, ValueError):
            return set()

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`; matrices are copied as they are."""
        index = []
        with open(path, "rb") as source, open(partial, "wb") as stream:
            for key, place in _read_index(path)[1]:
                if key in keys:
                    continue
                source.seek(place)
                header = source.read(KALDI_HEADER)
                _, rows, _, columns = struct.unpack("<bibi", header[5:])
                stream.write(f"{key} ".encode())
                index.append((key, stream.tell()))
                stream.write(header + source.read(4 * rows * columns))
        _put_in_place(partial, path, index)

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """Write the key, a space, and a binary float matrix: its mark, two sizes of 4 bytes, and the rows."""
        (array,) = arrays.values()
        rows, columns = array.shape if len(array.shape) == 2 else (1, *array.shape)
        start = self._stream.tell()
        try:
            self._stream.write(f"{key} ".encode())
            place = self._stream.tell()
            self._stream.write(b"\0BFM " + struct.pack("<bibi", 4, rows, 4, columns))
            for part in array.parts:
                self._stream.write(np.ascontiguousarray(part, dtype="<f4").data)
        except Exception:
            with suppress(OSError):  # what went wrong before says more
                self._stream.seek(start)
                self._stream.truncate()
            raise
        self._index.append((key, place))
        return 4 * rows * columns

    def finish(self) -> None:
        """See `Part`."""
        self._stream.close()

    def publish(self) -> None:
        """See `Part`."""
        _put_in_place(self._partial, self._final, self._index)

    @staticmethod
    def settle(folder: Path, start: str) -> None:
        """See `Part`."""
        found = [(end, file) for end in (INDEX, NEW) for file in folder.glob(f"{start}{5 * '[0-9]'}{end}")]
        for name in sorted({file.name.removesuffix(end) for end, file in found}):
            _settle(folder / (name + KaldiPart.suffix))


def _put_in_place(partial: Path, path: Path, index: Index) -> None:
    """Give an archive and its index their names, in place of what has them.

    Wherever this ends, the index is that of an archive which is there: the new one has another name until the index
    says so, and `_settle` gives it its own.
    """
    new = path.with_suffix(NEW)
    publish(partial, new)
    _write_index(path, new, index)
    _settle(path)


def _settle(path: Path) -> None:
    """Give an archive its name where its index says that it has another one yet; one that no index names goes."""
    new = path.with_suffix(NEW)
    with suppress(FileNotFoundError, ValueError):
        archive, index = _read_index(path)
        if archive.name == new.name:
            if new.exists():
                path.unlink(missing_ok=True)
                publish_first(new, path)
            _write_index(path, path, index)
    new.unlink(missing_ok=True)
    sync(path.parent)


def _write_index(path: Path, archive: Path, index: Index) -> None:
    """Write the index of an archive, which may still have another name."""
    write_text(path.with_suffix(INDEX), "".join(f"{key} {archive}:{place}\n" for key, place in index))


def _read_index(path: Path) -> tuple[Path, list[tuple[str, int]]]:
    """What the index of an archive calls it, and keys with their places.

    Raises:
        OSError: there is no index.
        ValueError: it is none of ours.
    """
    text = path.with_suffix(INDEX).read_bytes().decode("utf-8", "surrogateescape")
    archive, index = "", []
    for line in text.removesuffix("\n").split("\n"):
        key, _, where = line.partition(" ")
        archive, _, place = where.rpartition(":")
        index.append((key, int(place)))
    return Path(archive), index
