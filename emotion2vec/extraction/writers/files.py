"""Writers of one file per item, which mirror the tree of the input: `.npy` and `.safetensors`."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.arrays import Arrays
from emotion2vec.extraction.writers.base import (
    Output,
    SafeFolder,
    array_names,
    check_lengths,
    remove_files,
    safe_name,
    whole_file,
    write_npy,
)


class NpyWriter:
    """Writes `<id>.npy`, or `<id>.frames.npy` and `<id>.utterance.npy` when both are wanted."""

    separate, nested, at_once, stores_facts = True, True, True, False

    def __init__(self, output: Output):
        self.output = output
        self._folder = SafeFolder(output.folder)

    def targets(self, item: Utterance) -> list[str]:
        """The files' paths below the folder."""
        names = array_names(self.output.layout, safe_name(item)).values()
        return [check_lengths(f"{name}.npy", item) for name in names]

    def has(self, item: Utterance) -> bool:
        """Whether the files are there, whole, and of the right shape and dtype."""
        for target, spec in zip(self.targets(item), self.output.layout.values(), strict=True):
            try:
                found = np.load(self.output.folder / target, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                return False
            if not isinstance(found, np.ndarray) or not spec.fits(found.shape, found.dtype):
                return False
        return True

    def remove(self, items: Sequence[Utterance]) -> None:
        """Remove the files."""
        remove_files(self.output.folder, [target for item in items for target in self.targets(item)])

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Write each array to a temporary name beside its file, then rename."""
        for target, array in zip(self.targets(item), arrays.values(), strict=True):
            path = self.output.folder / target
            self._folder.make_parent(path, item)
            with whole_file(path, self.output.folder) as stream:
                write_npy(stream, array)

    def close(self) -> None:
        """Have the files' names on disk; the writer may be used again."""
        self._folder.sync()


class SafetensorsWriter:
    """Writes `<id>.safetensors` with the tensors `frames` and `utterance`, as far as they are wanted."""

    separate, nested, at_once, stores_facts = True, True, True, False

    def __init__(self, output: Output):
        self.output = output
        self._folder = SafeFolder(output.folder)

    def targets(self, item: Utterance) -> list[str]:
        """The file's path below the folder."""
        return [check_lengths(safe_name(item) + ".safetensors", item)]

    def has(self, item: Utterance) -> bool:
        """Whether the file is there, whole, and its tensors have the right shapes and dtypes."""
        from safetensors import SafetensorError, safe_open

        path = self._path(item)
        try:
            with safe_open(path, framework="np") as found:
                slices = {name: found.get_slice(name) for name in found.keys()}  # noqa: SIM118 (no mapping)
        except (OSError, SafetensorError):
            return False
        return slices.keys() == self.output.layout.keys() and all(
            spec.fits(tuple(slices[name].get_shape()), _NUMPY_DTYPES.get(slices[name].get_dtype()))
            for name, spec in self.output.layout.items()
        )

    def remove(self, items: Sequence[Utterance]) -> None:
        """Remove the files."""
        remove_files(self.output.folder, [target for item in items for target in self.targets(item)])

    def write(self, item: Utterance, arrays: Arrays) -> None:
        """Write all arrays of the item to one file, piece by piece."""
        path = self._path(item)
        self._folder.make_parent(path, item)
        with whole_file(path, self.output.folder) as stream:
            stream.write(_safetensors_header(arrays))
            for array in arrays.values():
                for piece in array.in_order():
                    stream.write(piece.data)

    def close(self) -> None:
        """Have the files' names on disk; the writer may be used again."""
        self._folder.sync()

    def _path(self, item: Utterance) -> Path:
        return self.output.folder / self.targets(item)[0]


def _safetensors_header(arrays: Arrays) -> bytes:
    """Its size in 8 bytes, then JSON with dtype, shape and place of each tensor, padded to a multiple of 8 bytes."""
    entries: dict[str, object] = {}
    start = 0
    for name, array in arrays.items():
        kind = next(kind for kind, dtype in _NUMPY_DTYPES.items() if dtype == array.dtype)
        entries[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [start, start + array.nbytes]}
        start += array.nbytes
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


_NUMPY_DTYPES: dict[object, np.dtype] = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16)}
