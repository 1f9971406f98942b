"""Parquet files: how one is written and looked through.

L: layers. T: frames. D: channels of a vector.
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode.arrays import Arrays, Layout
from emotion2vec.extraction.writers.base import need_package, printable, utf8_name
from emotion2vec.files import publish
from emotion2vec.parquet import open_parquet, read_texts

ROW_BYTES = 1 << 30
"""Largest features of one item in a Parquet file, whose rows are held whole by whoever writes and reads them."""

ROW_GROUP_BYTES = 32 * 1024 * 1024
"""Rows of a Parquet file that are held before they are written."""


class ParquetPart:
    """One Parquet file: a row per item with `id`, `file`, `start`, `duration`, `label`, `speaker` and its arrays.

    An array is a list of fixed-size lists of D numbers, one list level for each dimension.
    """

    suffix = ".parquet"
    companions: tuple[str, ...] = ()
    nested, stores_facts = False, True

    def __init__(self, partial: Path, layout: Layout, final: Path):
        import pyarrow.parquet

        self._partial, self._final = partial, final
        self._layout = layout
        self._schema = _parquet_schema(layout)
        self._stream = open(partial, "wb")  # noqa: SIM115 (closed by finish); Arrow's own takes only names in UTF-8
        self._writer = pyarrow.parquet.ParquetWriter(self._stream, self._schema, compression="zstd")
        self._rows: list[dict[str, Any]] = []
        self._held = 0

    @staticmethod
    def check(layout: Layout) -> None:
        """See `Part`."""
        need_package("pyarrow", "parquet")

    @staticmethod
    def key(item: Utterance) -> str:
        """See `Part`."""
        return utf8_name(item)

    @staticmethod
    def keys(path: Path, layout: Layout) -> set[str]:
        """See `Part`."""
        import pyarrow.parquet

        try:
            with open(path, "rb") as stream:
                if not pyarrow.parquet.read_schema(stream).equals(_parquet_schema(layout)):
                    return set()
                groups = read_texts(open_parquet(stream, list(layout), ["id"]), "id", path.stat().st_size)
                return set(chain.from_iterable(groups))
        except (OSError, ValueError):
            return set()

    @staticmethod
    def drop(path: Path, keys: set[str], partial: Path) -> None:
        """See `Part`; one group of rows at a time is in memory."""
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet

        unwanted = pyarrow.array(sorted(keys))
        with (
            open(path, "rb") as source,
            open(partial, "wb") as stream,
            pyarrow.parquet.ParquetFile(source) as file,
            pyarrow.parquet.ParquetWriter(stream, file.schema_arrow, compression="zstd") as writer,
        ):
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group)
                chosen = pyarrow.compute.invert(pyarrow.compute.is_in(rows["id"], value_set=unwanted))
                writer.write_table(rows.filter(chosen))
        publish(partial, path)

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
        with self._stream:
            self._flush()
            self._writer.close()

    def publish(self) -> None:
        """See `Part`."""
        publish(self._partial, self._final)

    @staticmethod
    def settle(folder: Path, start: str) -> None:
        """See `Part`; a file gets its name at once."""

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
