"""Kaldi archives: how one is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import companion, utf8_name
from emotion2vec.files import publish, write_text

KALDI_HEADER = 15
"""Bytes before the numbers of a matrix: its mark, and two sizes of 4 bytes with theirs."""


class KaldiPart:
    """One Kaldi archive `.ark` of float matrices, with its index `.scp` beside it; a vector is a matrix of one row."""

    suffix = ".ark"
    companions: tuple[str, ...] = (".scp",)
    nested, stores_facts = False, False

    def __init__(self, partial: Path, layout: Layout, final: Path):
        self._stream = open(partial, "wb")  # noqa: SIM115 (closed by finish)
        self._partial, self._final = partial, final
        self._index: list[str] = []

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
        """See `Part`; the index, which is written before the archive gets its name, has them all."""
        try:
            lines = _index_lines(path)
        except OSError:
            return set()
        return {line.partition(" ")[0] for line in lines}

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`; matrices are copied as they are, and there is no index while it does not fit the archive."""
        index, file = [], path.with_suffix(".scp")
        lines = _index_lines(path)
        with open(path, "rb") as source, open(partial, "wb") as stream:
            for line in lines:
                key, _, place = line.partition(" ")
                if key in keys:
                    continue
                source.seek(int(place.rpartition(":")[2]))
                header = source.read(KALDI_HEADER)
                _, rows, _, columns = struct.unpack("<bibi", header[5:])
                stream.write(f"{key} ".encode())
                index.append(f"{key} {path}:{stream.tell()}\n")
                stream.write(header + source.read(4 * rows * columns))
        file.unlink()
        publish(partial, path)
        write_text(file, "".join(index))

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
        self._index.append(f"{key} {self._final}:{place}\n")
        return 4 * rows * columns

    def finish(self) -> None:
        """See `Part`."""
        self._stream.close()
        partial = companion(self._partial, ".scp")
        partial.write_bytes("".join(self._index).encode("utf-8", "surrogateescape"))


def _index_lines(path: Path) -> list[str]:
    """Lines of the index of an archive."""
    text = path.with_suffix(".scp").read_bytes().decode("utf-8", "surrogateescape")
    return text.removesuffix("\n").split("\n") if text else []
