"""HDF5 files: how one is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import need_package, printable, utf8_name
from emotion2vec.files import publish


class Hdf5Part:
    """One HDF5 file: a group per item, called its id, with its arrays as datasets and its metadata as attributes."""

    suffix = ".h5"
    companions: tuple[str, ...] = ()
    nested, stores_facts = True, True

    def __init__(self, partial: Path, layout: Layout, final: Path):
        import h5py

        self._file = h5py.File(partial, "w", track_order=True)  # listed in the order of writing, not by name

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
        with h5py.File(partial, "r+") as file:
            for key in sorted(keys, reverse=True):  # those below others first
                for name in [name for name, node in file[key].items() if isinstance(node, h5py.Dataset)]:
                    del file[key][name]
                file[key].attrs.clear()
                if not len(file[key]):  # groups below are other items
                    del file[key]
        publish(partial, path)

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """See `Part`."""
        group = self._file.create_group(key)
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
        metadata = {"file": printable(str(item.audio)), "start": item.start, "duration": item.duration}
        facts = {"label": printable(item.label), "speaker": printable(item.speaker)}
        for name, value in {**metadata, **facts}.items():
            if value is not None:
                group.attrs[name] = value
        return size

    def finish(self) -> None:
        """See `Part`."""
        self._file.close()
