"""HDF5 files: how one is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import need_package, printable, utf8_name
from emotion2vec.files import publish

if TYPE_CHECKING:
    from typing_extensions import Buffer


class Hdf5Part:
    """One HDF5 file: a group per item, called its id, with its arrays as datasets and its metadata as attributes."""

    suffix = ".h5"
    companions: tuple[str, ...] = ()
    nested, stores_facts = True, True

    def __init__(self, partial: Path, layout: Layout, final: Path):
        import h5py

        self._partial, self._final = partial, final
        self._disk = _Disk(partial, "w+")
        with self._disk.heard():
            self._file = h5py.File(self._disk, "w", track_order=True)  # listed in the order of writing, not by name

    @staticmethod
    def check(layout: Layout) -> None:
        """See `Part`."""
        need_package("h5py", "hdf5")

    @staticmethod
    def key(item: Utterance) -> str:
        """See `Part`."""
        return utf8_name(item)

    @staticmethod
    def keys(path: Path, layout: Layout) -> set[str]:
        """See `Part`."""
        import h5py

        found: set[str] = set()

        def visit(name: str, node: Any) -> None:
            if isinstance(node, h5py.Group) and "file" in node.attrs:
                arrays = {key: node.get(key) for key in layout}
                if all(a is not None and layout[key].fits(a.shape, a.dtype) for key, a in arrays.items()):
                    found.add(name)

        try:
            with h5py.File(path, "r") as file:
                file.visititems(visit)
        except OSError:
            return set()
        return found

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`."""
        import h5py

        shutil.copyfile(path, partial)
        with _Disk(partial, "r+") as disk, disk.heard(), h5py.File(disk, "r+") as file:
            for key in sorted(keys, reverse=True):  # those below others first
                _empty(file[key])
                if not len(file[key]):  # groups below are other items
                    del file[key]
        publish(partial, path)

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """See `Part`."""
        group = self._file.require_group(key)  # which items below it may have made
        try:
            with self._disk.heard():
                return self._fill(group, item, arrays)
        except Exception:
            with suppress(Exception):  # what went wrong before says more
                _empty(group)
            raise

    @staticmethod
    def _fill(group: Any, item: Utterance, arrays: Arrays) -> int:
        size = 0
        for name, array in arrays.items():
            dataset = group.create_dataset(name, array.shape, array.dtype)
            start = 0
            for part in array.parts:
                if len(array.shape) < 2:
                    dataset[...] = part
                else:
                    dataset[..., start : start + part.shape[-2], :] = part
                    start += part.shape[-2]
                size += part.nbytes
        facts = {"label": printable(item.label), "speaker": printable(item.speaker)}
        metadata = {"start": item.start, "duration": item.duration, "file": printable(str(item.audio))}
        for name, value in {**facts, **metadata}.items():  # the file last: with it the item is complete
            if value is not None:
                group.attrs[name] = value
        return size

    def finish(self) -> None:
        """See `Part`."""
        with self._disk, self._disk.heard():
            self._file.close()

    def publish(self) -> None:
        """See `Part`."""
        publish(self._partial, self._final)

    @staticmethod
    def settle(folder: Path, start: str) -> None:
        """See `Part`; a file gets its name at once."""


class _Disk(FileIO):
    """A file for HDF5, which hears of no full disk: it would go on, and print what it cannot raise while it closes."""

    _fault: OSError | None = None

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Raise the first fault of the disk after the block, before whatever followed from it."""
        try:
            yield
        finally:
            if self._fault is not None:
                raise self._fault

    def write(self, data: Buffer) -> int:
        """Write all of it, or keep why not."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left and self._fault is None:
                left = left[super().write(left) :]
        except OSError as error:
            self._fault = error
        return size


def _empty(group: Any) -> None:
    """Take an item out of its group; groups below are other items."""
    import h5py

    for name in [name for name, node in group.items() if isinstance(node, h5py.Dataset)]:
        del group[name]
    for name in list(group.attrs):
        del group.attrs[name]
