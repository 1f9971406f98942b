"""The layout of the original emotion2vec recipe for IEMOCAP: `train.npy`, `train.lengths`, `train.emo`.

T: frames of all items together. D: model width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from uuid import uuid4

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray
from emotion2vec.extraction.writers.base import Output, utf8_name, whole_file, write_npy

READ_FRAMES = 65_536
"""Frames that are copied at once."""


class IemocapWriter:
    """Writes all frames one after the other in the order of the sources, their numbers, and `id label` lines.

    That recipe takes whole sessions by their place in the list, so the order matters. Batches come in another one:
    frames go to a temporary file first, and are put in order at the end. A job of this format cannot be resumed.
    """

    nested, at_once, stores_facts = False, False, True

    def __init__(self, output: Output):
        spec = output.layout.get("frames")
        if list(output.layout) != ["frames"] or spec is None or len(spec.shape) != 2 or output.tag:
            raise ConfigError("format is 'iemocap', expected granularity frame, one layer, and no shard")
        if output.resume:
            raise ConfigError("format is 'iemocap', whose jobs cannot be resumed")
        self._output = output
        self._width, self._dtype = spec.shape[-1] or 0, spec.dtype
        self._order: dict[str, int] = {}
        self._written: dict[str, tuple[int, int, Utterance]] = {}
        self._frames = 0
        self._partial = output.folder / f".{uuid4().hex}.partial"
        self._spool = open(self._partial, "w+b")  # noqa: SIM115 (closed by close)

    def targets(self, item: Utterance) -> list[str]:
        """The item's id; the first call for an item fixes its place.

        Raises:
            ManifestError: the item has no label, or one of these has white space in it.
        """
        name = utf8_name(item)
        if item.label is None or item.label.split() != [item.label] or name.split() != [name]:
            raise ManifestError(f"the id {name!r} with the label {item.label!r}: expected both, without white space")
        self._order.setdefault(name, len(self._order))
        return [name]

    def has(self, item: Utterance) -> bool:
        """Nothing is ever there already."""
        return False

    def remove(self, items: Sequence[Utterance]) -> None:
        """Nothing is ever there."""

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Append the item's frames to the temporary file."""
        start = self._frames
        try:
            self._spool.seek(start * self._width * self._dtype.itemsize)
            for part in arrays["frames"].parts:
                self._spool.write(np.ascontiguousarray(part).data)
        except OSError as error:
            raise ConfigError(f"output {self._output.folder}: nothing more can be written: {error.strerror}") from error
        self._frames += arrays["frames"].shape[0]
        self._written[item.id] = (start, arrays["frames"].shape[0], item)

    def close(self) -> None:
        """Put everything in order and under its name."""
        try:
            if self._written:
                self._assemble()
        finally:
            self._spool.close()
            self._partial.unlink(missing_ok=True)

    def _assemble(self) -> None:
        folder = self._output.folder
        entries = [self._written[name] for name in sorted(self._written, key=self._order.__getitem__)]
        self._spool.flush()
        with whole_file(folder / "train.npy", folder) as stream:
            spooled = (part for start, count, _ in entries for part in self._read(start, count))
            write_npy(stream, FeatureArray((self._frames, self._width), self._dtype, spooled))
        lines = {
            "train.lengths": "".join(f"{count}\n" for _, count, _ in entries),
            "train.emo": "".join(f"{item.id}\t{item.label}\n" for _, _, item in entries),
        }
        for name, text in lines.items():
            with whole_file(folder / name, folder) as stream:
                stream.write(text.encode())

    def _read(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Frames from the temporary file, in pieces."""
        size = self._width * self._dtype.itemsize

        def piece(first: int) -> np.ndarray:
            frames = min(READ_FRAMES, start + count - first)
            raw = os.pread(self._spool.fileno(), frames * size, first * size)
            return np.frombuffer(raw, self._dtype).reshape(frames, self._width)

        return map(piece, range(start, start + count, READ_FRAMES))
