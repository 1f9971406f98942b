"""Parquet, HDF5 and Kaldi archives: how one file of each is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

import os
import shutil
import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.errors import ConfigError, ManifestError
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import printable, utf8_name

ROW_BYTES = 1 << 30
"""Largest features of one item in a Parquet file, whose rows are held whole by whoever writes and reads them."""

KALDI_HEADER = 15
"""Bytes before the numbers of a matrix: its mark, and two sizes of 4 bytes with theirs."""

ROW_GROUP_BYTES = 32 * 1024 * 1024
"""Rows of a Parquet file that are held before they are written."""


class ParquetPart:
    """One Parquet file: a row per item with `id`, `file`, `start`, `duration`, `label`, `speaker` and its arrays.

    An array is a list of fixed-size lists of D numbers, one list level for each dimension.
    """

    suffix = ".parquet"
    companions: tuple[str, ...] = ()
    nested, stores_facts = False, True

    def __init__(self, path: Path, layout: Layout, final: Path):
        import pyarrow.parquet

        self._layout = layout
        self._schema = _parquet_schema(layout)
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._held = 0

    @staticmethod
    def check(layout: Layout) -> None:
        """See `Part`."""
        _need("pyarrow", "parquet")

    @staticmethod
    def key(item: Utterance) -> str:
        """See `Part`."""
        return utf8_name(item)

    @staticmethod
    def keys(path: Path, layout: Layout) -> set[str]:
        """See `Part`."""
        import pyarrow
        import pyarrow.parquet

        try:
            file = pyarrow.parquet.ParquetFile(path)
            if not file.schema_arrow.equals(_parquet_schema(layout)):
                return set()
            return set(file.read(columns=["id"])["id"].to_pylist())
        except (OSError, pyarrow.ArrowInvalid):
            return set()

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`; one group of rows at a time is in memory."""
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet

        file = pyarrow.parquet.ParquetFile(path)
        unwanted = pyarrow.array(sorted(keys))
        with pyarrow.parquet.ParquetWriter(partial, file.schema_arrow, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                chosen = pyarrow.compute.invert(pyarrow.compute.is_in(rows["id"], value_set=unwanted))
                writer.write_table(rows.filter(chosen))
        os.replace(partial, path)

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """See `Part`."""
        size = sum(array.nbytes for array in arrays.values())
        if size > ROW_BYTES:
            raise ValueError(
                f"{size / 1e9:.1f} GB are too much for a row of a Parquet file; expected format npy, hdf5, safetensors "
                "or kaldi, or fewer vectors (downsample, granularity utterance)"
            )
        whole = {name: array.whole() for name, array in arrays.items()}
        row = {"id": key, "file": printable(str(item.audio)), "start": item.start, "duration": item.duration}
        self._rows.append({**row, "label": printable(item.label), "speaker": printable(item.speaker), **whole})
        self._held += size
        if self._held >= ROW_GROUP_BYTES:
            self._flush()
        return size

    def finish(self) -> None:
        """See `Part`."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        if not self._rows:
            return
        columns = []
        for field in self._schema:
            values = [row[field.name] for row in self._rows]
            columns.append(_nested(values) if field.name in self._layout else pyarrow.array(values, field.type))
        self._writer.write_table(pyarrow.Table.from_arrays(columns, schema=self._schema))
        self._rows, self._held = [], 0


def _parquet_schema(layout: Layout) -> Any:
    import pyarrow as pa

    fields = [("id", pa.string()), ("file", pa.string()), ("start", pa.float64()), ("duration", pa.float64())]
    fields += [("label", pa.string()), ("speaker", pa.string())]
    for name, spec in layout.items():
        kind = pa.list_(pa.from_numpy_dtype(spec.dtype), spec.shape[-1])
        for _ in spec.shape[:-1]:
            kind = pa.list_(kind)
        fields.append((name, kind))
    return pa.schema(fields)


def _nested(arrays: list[np.ndarray]) -> Any:
    """Arrays of equal rank as one Arrow array of lists of ... of fixed-size lists."""
    import pyarrow as pa

    flat = arrays[0].reshape(-1) if len(arrays) == 1 else np.concatenate([array.reshape(-1) for array in arrays])
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat), arrays[0].shape[-1])
    for axis in range(arrays[0].ndim - 2, -1, -1):
        # Each list at this level holds shape[axis] of the lists below; there are prod(shape[:axis]) such lists an item.
        sizes = np.concatenate([np.full(int(np.prod(array.shape[:axis])), array.shape[axis]) for array in arrays])
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


class Hdf5Part:
    """One HDF5 file: a group per item, called its id, with its arrays as datasets and its metadata as attributes."""

    suffix = ".h5"
    companions: tuple[str, ...] = ()
    nested, stores_facts = True, True

    def __init__(self, path: Path, layout: Layout, final: Path):
        import h5py

        self._file = h5py.File(path, "w")

    @staticmethod
    def check(layout: Layout) -> None:
        """See `Part`."""
        _need("h5py", "hdf5")

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
        os.replace(partial, path)

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


class KaldiPart:
    """One Kaldi archive `.ark` of float matrices, with its index `.scp` beside it; a vector is a matrix of one row."""

    suffix = ".ark"
    companions: tuple[str, ...] = (".scp",)
    nested, stores_facts = False, False

    def __init__(self, path: Path, layout: Layout, final: Path):
        self._stream = open(path, "wb")  # noqa: SIM115 (closed by finish)
        self._final = final
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
            lines = path.with_suffix(".scp").read_text(encoding="utf-8").splitlines()
        except OSError:
            return set()
        return {line.split(" ", 1)[0] for line in lines}

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`; matrices are copied as they are, and there is no index while it does not fit the archive."""
        index, file = [], path.with_suffix(".scp")
        lines = file.read_text(encoding="utf-8").splitlines()
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
        os.replace(partial, path)
        file.write_text("".join(index), encoding="utf-8")

    def add(self, key: str, item: Utterance, arrays: Arrays) -> int:
        """Write the key, a space, and a binary float matrix: its mark, two sizes of 4 bytes, and the rows."""
        (array,) = arrays.values()
        rows, columns = array.shape if len(array.shape) == 2 else (1, *array.shape)
        self._stream.write(f"{key} ".encode())
        self._index.append(f"{key} {self._final}:{self._stream.tell()}\n")
        self._stream.write(b"\0BFM " + struct.pack("<bibi", 4, rows, 4, columns))
        for part in array.parts:
            self._stream.write(np.ascontiguousarray(part, dtype="<f4").data)
        return 4 * rows * columns

    def finish(self) -> None:
        """See `Part`."""
        self._stream.close()
        self._final.with_suffix(".scp").write_text("".join(self._index), encoding="utf-8")


def _need(package: str, extra: str) -> None:
    """Raise ConfigError if a package is not installed."""
    if find_spec(package) is None:
        raise ConfigError(f"format {extra!r} needs the package {package}: pip install 'emotion2vec[{extra}]'")
