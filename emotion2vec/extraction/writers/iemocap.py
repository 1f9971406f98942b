"""The layout of the original emotion2vec recipe for IEMOCAP: `train.npy`, `train.lengths`, `train.emo`.

T: frames of all items together. D: model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from tempfile import TemporaryFile
from typing import IO

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, FeatureArray
from emotion2vec.extraction.writers.base import Output, printable, utf8_name, whole_file, write_npy
from emotion2vec.files import sync, tidy
from emotion2vec.places import read_at

READ_FRAMES = 65_536
"""Frames that are copied at once."""


class IemocapWriter:
    """Writes all frames one after the other in the order of the sources, their numbers, and `id label` lines.

    That recipe takes whole sessions by their place in the list. Frames go to a temporary file first, since the file's
    header says how many there are. A job of this format cannot be resumed.
    """

    separate, nested, at_once, stores_facts = False, False, False, True

    def __init__(self, output: Output):
        spec = output.layout.get("frames")
        if list(output.layout) != ["frames"] or spec is None or len(spec.shape) != 2 or output.tag:
            raise ConfigError("format is 'iemocap', expected granularity frame, one layer, and no shard")
        if output.resume:
            raise ConfigError("format is 'iemocap', whose jobs cannot be resumed")
        self._output = output
        self._width, self._dtype = spec.shape[-1] or 0, spec.dtype
        self._written: list[tuple[int, Utterance]] = []
        self._frames = 0
        tidy(output.folder)
        try:
            self._spool: IO[bytes] = TemporaryFile(dir=output.folder)  # noqa: SIM115 (closed by close)
        except OSError as error:
            raise ConfigError(f"output {output.folder}: nothing can be written: {error.strerror}") from error

    def targets(self, item: Utterance) -> list[str]:
        """The item's id.

        Raises:
            ManifestError: the item has no label, or one of these has white space in it or is no Unicode.
        """
        name, label = utf8_name(item), printable(item.label)
        if label is None or label.split() != [label] or name.split() != [name]:
            raise ManifestError(f"the id {name!r} with the label {item.label!r}: expected both, without white space")
        if printable(item.label) != item.label:
            raise ManifestError(f"the id {name!r} with the label {item.label!r}: expected Unicode")
        return [name]

    def has(self, item: Utterance) -> bool:
        """Nothing is ever there already."""
        return False

    def remove(self, items: Sequence[Utterance]) -> None:
        """Nothing is ever there."""

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Append the item's frames to the temporary file."""
        try:
            self._spool.seek(self._frames * self._width * self._dtype.itemsize)
            for part in arrays["frames"].parts:
                self._spool.write(np.ascontiguousarray(part).data)
        except OSError as error:
            raise self._not_writable(error) from error
        self._written.append((arrays["frames"].shape[0], item))
        self._frames += arrays["frames"].shape[0]

    def close(self) -> None:
        """Put everything in order and under its name.

        Raises:
            ConfigError: the disk does not take it.
        """
        try:
            if self._written:
                self._assemble()
        except OSError as error:
            raise self._not_writable(error) from error
        finally:
            with suppress(OSError):  # what went wrong before says more
                self._spool.close()

    def _assemble(self) -> None:
        """Give the files their names when all are complete: they belong together."""
        folder = self._output.folder
        self._spool.flush()
        texts = {
            "train.lengths": "".join(f"{count}\n" for count, _ in self._written),
            "train.emo": "".join(f"{utf8_name(item)}\t{printable(item.label)}\n" for _, item in self._written),
        }
        with ExitStack() as stack:
            stream = stack.enter_context(whole_file(folder / "train.npy", folder))
            write_npy(stream, FeatureArray((self._frames, self._width), self._dtype, self._read()))
            for name, text in texts.items():
                stack.enter_context(whole_file(folder / name, folder)).write(text.encode())
        sync(folder)

    def _not_writable(self, error: OSError) -> ConfigError:
        return ConfigError(f"output {self._output.folder}: nothing more can be written: {error.strerror}")

    def _read(self) -> Iterator[np.ndarray]:
        """The frames in the temporary file, in pieces."""
        size = self._width * self._dtype.itemsize
        for first in range(0, self._frames, READ_FRAMES):
            raw = read_at(self._spool.fileno(), min(READ_FRAMES, self._frames - first) * size, first * size)
            yield np.frombuffer(raw, self._dtype).reshape(-1, self._width)
