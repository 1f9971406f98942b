from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from emotion2vec.corpora.utterance import Utterance
from emotion2vec.extraction.encode import spool
from emotion2vec.extraction.encode.arrays import ArraySpec, FeatureArray, Layout
from emotion2vec.extraction.encode.spool import Spool
from emotion2vec.extraction.writers import Output
from emotion2vec.extraction.writers.files import NpyWriter, SafetensorsWriter
from emotion2vec.extraction.writers.parquet import ParquetPart
from emotion2vec.extraction.writers.parts import PartsWriter

ITEM = Utterance(id="x", audio=Path("x.wav"))


def in_parts(whole: np.ndarray, step: int) -> FeatureArray:
    parts = (whole[..., start : start + step, :] for start in range(0, whole.shape[-2], step))
    return FeatureArray(whole.shape, whole.dtype, parts)


@pytest.mark.parametrize("shape", [(50, 8), (3, 50, 8)])
@pytest.mark.parametrize("read_bytes", [100, 7 * 8 * 4, 1 << 20])
def test_what_was_spooled_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], read_bytes: int
) -> None:
    monkeypatch.setattr(spool, "READ_BYTES", read_bytes)
    whole = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    store = Spool(tmp_path)
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2 * whole.nbytes)  # two in a file
    kept = [store.keep({"frames": in_parts(array, 11)})["frames"] for array in (whole + 1, whole, whole + 2)]
    array = kept[1]
    np.testing.assert_array_equal(kept[2].whole(), whole + 2)
    np.testing.assert_array_equal(np.concatenate(list(array.parts), axis=-2), whole)
    np.testing.assert_array_equal(np.concatenate(list(array.in_order())).reshape(shape), whole)
    np.testing.assert_array_equal(array.whole(), whole)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_finite_is_not_spooled(tmp_path: Path) -> None:
    whole = np.ones((50, 8), np.float32)
    whole[40, 3] = np.nan
    with pytest.raises(FloatingPointError):
        Spool(tmp_path).keep({"frames": in_parts(whole, 11)})


@pytest.mark.parametrize("writer", [NpyWriter, SafetensorsWriter])
def test_long_features_are_never_held_whole(tmp_path: Path, writer: type[NpyWriter] | type[SafetensorsWriter]) -> None:
    """60 MB with layers in front, of which two pieces are held at most while they are spooled and written."""
    layers, frames, width = 3, 50_000, 100

    def parts() -> Iterator[np.ndarray]:
        for start in range(0, frames, 1_000):
            yield start + np.ones((layers, 1_000, width), np.float32).cumsum(axis=0)

    layout: Layout = {"frames": ArraySpec((layers, None, width), np.dtype(np.float32))}
    tracemalloc.start()
    arrays = Spool(tmp_path).keep({"frames": FeatureArray((layers, frames, width), np.dtype(np.float32), parts())})
    writer(Output(tmp_path, layout)).write(ITEM, arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * spool.READ_BYTES + 4e6
    written = np.load(tmp_path / "x.npy") if writer is NpyWriter else load_file(tmp_path / "x.safetensors")["frames"]
    np.testing.assert_array_equal(written, np.concatenate(list(parts()), axis=1))


def test_a_row_of_parquet_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emotion2vec.extraction.writers.parquet.ROW_BYTES", 1_000)
    writer = PartsWriter(Output(tmp_path, {"frames": ArraySpec((None, 8), np.dtype(np.float32))}), ParquetPart)
    with pytest.raises(ValueError, match="too much for a row of a Parquet file; expected format npy, hdf5"):
        writer.write(ITEM, {"frames": FeatureArray.of(np.zeros((50, 8), np.float32))})
    writer.write(ITEM, {"frames": FeatureArray.of(np.zeros((10, 8), np.float32))})
    writer.close()
    assert (tmp_path / "features-00000.parquet").exists()
